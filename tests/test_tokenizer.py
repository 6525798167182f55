"""The tokenizer against llama.cpp (stored ids), against a naive BPE written here, and against hostile metadata."""

import functools
import hashlib
import itertools
import json
import operator
import random
import subprocess
import sys
import time
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyruntime import _core
from pyruntime.errors import GGUFError, UnsupportedError
from pyruntime.tokenizer import Tokenizer, load_tokenizer

GOLDENS = Path(__file__).parent / "data" / "tokenizer"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5


def byte_alphabet() -> list[str]:
    """GPT-2's characters for bytes, by its own definition: printable ones first, then U+0100 and up."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [byte for byte in range(256) if byte not in printable]
    named = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(rest)}
    return [named[byte] for byte in range(256)]


ALPHABET = byte_alphabet()

TEXT = "the then other hello 123 é中文  \n\n'll it's <tag> ... ßЖ"
CHARS = " \n\t\r\u00a0\u3000abctheTHEé中文ßЖकا\u0301\u094d0123²½'slvrm!?.<>|-_😀\u200d\x00\x7f\u0085"


def merges_of(text: str, n: int) -> list[tuple[str, str]]:
    """Some merges, as training on `text` would find them."""
    words = [[ALPHABET[b] for b in word.encode()] for word in text.replace(" ", "\0 ").split("\0")]
    merges: list[tuple[str, str]] = []
    while len(merges) < n:
        pairs = [pair for word in words for pair in itertools.pairwise(word)]
        if not pairs:
            break
        pair = max(dict.fromkeys(pairs), key=pairs.count)
        merges.append(pair)
        words = [apply(word, pair) for word in words]
    return merges


def apply(word: list[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    for part in word:
        if out and (out[-1], part) == pair:
            out[-1] += part
        else:
            out.append(part)
    return out


def metadata(**changes: Any) -> dict[str, Any]:
    """A vocabulary: three special tokens, the bytes, some merges. `changes` are tokenizer.ggml keys; None removes."""
    merges = merges_of(TEXT, 60)
    special = ["<|im_start|>", "<|im_end|>", "<think>", "<s>"]
    tokens = list(dict.fromkeys([*special, *ALPHABET, *(left + right for left, right in merges)]))
    values: dict[str, Any] = {
        "model": "gpt2",
        "pre": "smollm",
        "tokens": tokens,
        "token_type": np.array([CONTROL, CONTROL, USER_DEFINED, CONTROL] + [NORMAL] * (len(tokens) - 4), np.int32),
        "merges": [" ".join(merge) for merge in merges],
        "bos_token_id": 3,
        "eos_token_id": 1,
    } | changes
    return {f"tokenizer.ggml.{key}": value for key, value in values.items() if value is not None}


def small(**changes: Any) -> Tokenizer:
    return load_tokenizer(metadata(**changes), "m.gguf")


def split_by_gpt2_rule(text: str) -> list[str]:
    """GPT-2's regular expression, written as a scanner: contraction, letters, numbers, others, white space."""
    words, at = [], 0
    while at < len(text):
        contraction = next((c for c in ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d") if text.startswith(c, at)), None)
        first = at + (text[at] == " " and at + 1 < len(text))
        end = at
        if contraction:
            end += len(contraction)
        elif (kind := kind_of(text[first])) != "space":
            end = first
            while end < len(text) and kind_of(text[end]) == kind:
                end += 1
        else:
            while end < len(text) and kind_of(text[end]) == "space":
                end += 1
            if end < len(text) and end - at > 1:
                end -= 1  # the last space goes with the word that follows
        words.append(text[at:end])
        at = end
    return words


def kind_of(char: str) -> str:
    if char.isspace() and not "\x1c" <= char <= "\x1f":
        return "space"
    return {"L": "letter", "N": "number"}.get(unicodedata.category(char)[0], "other")


def naive_encode(t: Tokenizer, text: str, merges: list[tuple[str, str]], single_digits: bool) -> list[int]:
    pieces = [""]
    for char in text:
        if single_digits and kind_of(char) == "number":
            pieces += [char, ""]
        else:
            pieces[-1] += char
    ids = []
    for piece in pieces:
        for word in split_by_gpt2_rule(piece):
            parts = [ALPHABET[b] for b in word.encode()]
            while pairs := [p for p in itertools.pairwise(parts) if p in merges]:
                best = min(pairs, key=merges.index)
                at = list(itertools.pairwise(parts)).index(best)
                parts[at : at + 2] = ["".join(best)]
            ids += [t.id_of(part) for part in parts]
    assert None not in ids
    return ids  # type: ignore[return-value]


def random_texts(n: int, alphabet: str = CHARS) -> list[str]:
    draw = random.Random(7)
    return ["".join(draw.choices(alphabet, k=draw.randint(1, 40))) for _ in range(n)]


def any_texts(n: int) -> list[str]:
    return random_texts(n, "".join(chr(c) for c in range(0, 0x110000, 7) if not 0xD800 <= c < 0xE000))


@pytest.mark.parametrize(("pre", "single_digits"), [("smollm", True), ("gpt-2", False)])
def test_equals_naive_bpe(pre: str, single_digits: bool) -> None:
    t = small(pre=pre)
    merges = merges_of(TEXT, 60)
    for text in [TEXT, *random_texts(400)]:
        assert t.encode(text, add_special=False) == naive_encode(t, text, merges, single_digits), repr(text)


def test_round_trip_and_streaming() -> None:
    t = small()
    for text in [*random_texts(200), *any_texts(200)]:
        ids = t.encode(text)
        assert t.decode(ids) == text
        stream = t.stream_decoder()
        assert "".join(map(stream.push, ids)) + stream.finish() == text


def test_streaming_equals_decode_on_any_ids() -> None:
    t = small()
    draw = random.Random(3)
    stream = t.stream_decoder(skip_special=False)
    for _ in range(300):
        ids = draw.choices(range(t.n_vocab), k=draw.randint(0, 30))
        pieces = [*map(stream.push, ids), stream.finish()]
        assert "".join(pieces) == t.decode(ids) == t.decode_bytes(ids).decode("utf-8", "replace")


def test_stream_holds_back_half_a_character() -> None:
    t = small()
    stream = t.stream_decoder()
    ids = [t.id_of(ALPHABET[byte]) or 0 for byte in "😀".encode()]
    assert [stream.push(i) for i in ids] == ["", "", "", "😀"]
    assert [stream.push(ids[0]), stream.push(ids[1]), stream.finish(), stream.finish()] == ["", "", "\ufffd", ""]


def test_special_tokens_by_who_asks() -> None:
    t = small()
    start, end, think = 0, 1, 2
    assert t.encode("<|im_start|><think>", parse_special=True) == [start, think]
    plain = t.encode("<|im_start|><think>")
    assert start not in plain
    assert plain[-1] == think, "user-defined tokens are parsed in any text"
    assert t.decode([start, think, end]) == "<|im_start|><think><|im_end|>"
    assert t.decode([start, think, end], skip_special=True) == "<think>"
    assert t.stream_decoder().push(end) == ""


def test_longer_special_tokens_come_first_wherever_they_stand() -> None:
    tokens = [*ALPHABET, "<ab>", "b><cd>", "<ab>x"]
    t = small(tokens=tokens, token_type=[NORMAL] * 256 + [CONTROL] * 3, merges=[])
    assert t.encode("<ab><cd>", add_special=False, parse_special=True) == [*t.encode("<a", False), 257]
    assert t.encode("<ab>x<ab>", add_special=False, parse_special=True) == [258, 256]


def test_bos_and_eos() -> None:
    t = small(add_bos_token=True, add_eos_token=True)
    assert (t.add_bos, t.add_eos, t.bos_id, t.eos_id) == (True, True, 3, 1)
    assert t.encode("") == [3, 1]
    assert t.encode("", add_special=False) == []
    assert small(pre="llama-bpe").add_bos, "comes with the rule"
    assert not small(pre="llama-bpe", add_bos_token=False).add_bos
    with pytest.warns(UserWarning, match=r"^m.gguf: tokenizer.ggml.add_bos_token is true, but"):
        assert not small(bos_token_id=None, add_bos_token=True).add_bos


def test_ends() -> None:
    assert small().end_ids == {1}
    assert small(eot_token_id=2).end_ids == {1, 2}
    assert small(eos_token_id=None).end_ids == {1}, "<|im_end|> by its name"
    tokens = [*ALPHABET, "</", "</s", "</s>"]
    t = small(tokens=tokens, token_type=None, merges=["< /", "</ s", "</s >"])
    assert t.end_ids == {1}, "what merges make is text"
    assert small(tokens=tokens, token_type=None, merges=["< /", "</ s"]).end_ids == {1, 258}


def test_text_never_becomes_a_control_token() -> None:
    tokens = [*ALPHABET, "ab", "abc", "abcd"]
    t = small(tokens=tokens, token_type=[NORMAL] * 257 + [CONTROL, NORMAL], merges=["a b", "ab c", "abc d"])
    assert t.encode("abcd", add_special=False) == [256, ord("c"), ord("d")]
    whole = small(pre="llama-bpe", tokens=tokens, token_type=[NORMAL] * 256 + [CONTROL] * 3, merges=[])
    assert max(whole.encode("abc abcd", add_special=False)) < 256, "nor as a whole word"


def test_words_taken_whole() -> None:
    t = small(pre="llama-bpe", tokens=[*ALPHABET, "hello"], token_type=None, merges=[])
    assert t.encode("hello", add_special=False) == [256]
    assert len(t.encode("hellos", add_special=False)) == 6


def test_bytes_without_a_token_are_left_out_and_still_part_their_neighbours() -> None:
    tokens = [char for char in ALPHABET if char != ALPHABET[4]] + ["!!"]
    t = small(tokens=tokens, token_type=None, merges=["! !"])
    assert t.decode(t.encode("!!\x04!\x04!")) == "!!!!"
    assert t.encode("!\x04!", add_special=False) == [tokens.index("!")] * 2


def test_marks_hide_special_tokens_and_nothing_else() -> None:
    t = small()
    mark = "\ufdd0"
    ids = t.encode_with_mark(f"<|im_start|>a<{mark}|im_end|>b<|im_end|>", mark)
    assert ids == [0, *t.encode("a<|im_end|>b", add_special=False), 1]
    for text in random_texts(50):
        marked = mark.join(text)
        assert t.encode_with_mark(marked, mark) == t.encode(text, add_special=False)
    assert t.encode_with_mark(f"<thi{mark}nk>", mark) == [2], "user-defined tokens show through"


def test_wrong_arguments() -> None:
    t = small()
    with pytest.raises(TypeError, match="text must be str, not bytes"):
        t.encode(b"x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lone surrogate at position 1"):
        t.encode("a\ud800")
    for wrong in (-1, t.n_vocab, 2**40):
        with pytest.raises(ValueError, match=rf"token id {wrong} is outside the vocabulary \(0 to {t.n_vocab - 1}\)"):
            t.decode([wrong])
    with pytest.raises(ValueError, match="token id"):
        t.token(-1)
    assert t.decode(np.array([1], np.int64)) == "<|im_end|>"
    assert (t.token(1), t.id_of("<|im_end|>"), t.id_of("no such token")) == ("<|im_end|>", 1, None)
    assert t.special_tokens == {"<|im_start|>": 0, "<|im_end|>": 1, "<s>": 3}


def test_unknown_rules_and_kinds_load() -> None:
    t = small(pre="marsian")
    assert t.decode([1]) == "<|im_end|>"
    with pytest.raises(UnsupportedError, match=r"^m.gguf: pre-tokenizer 'marsian' .* pass ids"):
        t.encode("x")
    t = small(model="rwkv", merges=None)
    assert t.token(1) == "<|im_end|>"
    with pytest.raises(UnsupportedError, match=r"^m.gguf: tokenizer kind 'rwkv' .* pass ids"):
        t.encode("x")
    with pytest.raises(UnsupportedError, match="tokenizer kind 'rwkv'"):
        t.decode([1])
    with pytest.warns(UserWarning, match=r"^m.gguf: tokenizer.ggml.pre is missing: .*'default'"):
        t = small(pre=None)
    assert t.decode(t.encode("ok")) == "ok"


def test_tokens_outside_the_byte_alphabet() -> None:
    t = small(tokens=[*ALPHABET, "a b", "", "pad"], token_type=[NORMAL] * 258 + [UNUSED], merges=[])
    assert t.decode([256, 258]) == "a b"
    assert t.token(257) == "[EMPTY_257]"


N = len(metadata()["tokenizer.ggml.tokens"])
MALFORMED = [
    ({"model": None}, "tokenizer.ggml.model is missing"),
    ({"model": 3}, "tokenizer.ggml.model is of type int, not str"),
    ({"tokens": None}, "tokenizer.ggml.tokens is missing"),
    ({"tokens": []}, "tokenizer.ggml.tokens is empty"),
    ({"tokens": "abc"}, "tokenizer.ggml.tokens is of type str, not list"),
    ({"tokens": [*ALPHABET, 5]}, "tokenizer.ggml.tokens[256] is of type int, not str"),
    ({"tokens": ["a", "b", "a"]}, "tokenizer.ggml.tokens holds 'a' twice, as 0 and 2"),
    ({"token_type": [1, 2]}, f"tokenizer.ggml.token_type has 2 entries for {N} tokens"),
    ({"token_type": np.zeros(N)}, "tokenizer.ggml.token_type is not an array of integers"),
    ({"token_type": "x" * N}, "tokenizer.ggml.token_type is not an array of integers"),
    ({"merges": None}, "tokenizer.ggml.merges is missing"),
    ({"merges": ["th"]}, "tokenizer.ggml.merges[0] is 'th', not two tokens with a space between"),
    ({"merges": ["t h e"]}, "tokenizer.ggml.merges[0] names 'h e', which is not a token"),
    ({"merges": [" h"]}, "tokenizer.ggml.merges[0] is ' h', not two tokens with a space between"),
    ({"merges": ["q q"]}, "tokenizer.ggml.merges[0] names 'qq', which is not a token"),
    ({"merges": ["xyz q"]}, "tokenizer.ggml.merges[0] names 'xyz', which is not a token"),
    ({"bos_token_id": N}, f"tokenizer.ggml.bos_token_id is {N}, outside the vocabulary of {N} tokens"),
    ({"eos_token_id": -1}, f"tokenizer.ggml.eos_token_id is -1, outside the vocabulary of {N} tokens"),
    ({"eot_token_id": "x"}, "tokenizer.ggml.eot_token_id is of type str, not int"),
    ({"padding_token_id": True}, f"tokenizer.ggml.padding_token_id is True, outside the vocabulary of {N} tokens"),
    ({"add_bos_token": 1}, "tokenizer.ggml.add_bos_token is of type int, not bool"),
]


@pytest.mark.parametrize(("changes", "message"), MALFORMED, ids=[message for _, message in MALFORMED])
def test_malformed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(GGUFError) as error:
        small(**changes)
    assert str(error.value) == f"m.gguf: {message}"


def test_of_a_merge_given_twice_the_first_rank_counts() -> None:
    changes: dict[str, Any] = {"tokens": [*ALPHABET, "ab", "bc"], "token_type": None}
    t = small(merges=["a b", "b c", "a b"], **changes)
    assert t.token(t.encode("abc", add_special=False)[0]) == "ab"


def test_import_is_cheap() -> None:
    code = (
        "import sys, pyruntime.tokenizer, pyruntime.chat_template;"
        " print({'tokenizers', 'sentencepiece', 'minijinja'} & {*sys.modules})"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "set()"


@pytest.mark.parametrize("pre", ["smollm", "llama-bpe", "qwen2", "qwen35", "deepseek-v3", "default"])
@pytest.mark.parametrize("unit", ["t", " ", "中文", "\n", "1", "!", " \n", "<|im_end|>"])
def test_time_is_linear(pre: str, unit: str) -> None:
    """A hundred thousand characters of one kind: a quadratic algorithm would take minutes."""
    t = small(pre=pre)
    text = unit * (100_000 // len(unit))
    start = time.perf_counter()
    ids = t.encode(text, parse_special=True)
    assert time.perf_counter() - start < 5
    assert t.decode(ids) == text or pre == "llama-bpe"  # which adds BOS


@pytest.fixture(scope="module")
def smollm2(model_path: Path) -> dict[str, Any]:
    return dict(_core.GGUF(str(model_path)).metadata)


@pytest.mark.model
def test_goldens(smollm2: dict[str, Any]) -> None:
    t = load_tokenizer(smollm2)
    rows = json.loads((GOLDENS / "smollm2.json").read_text())["rows"]
    assert len(rows) >= 500
    assert sum(len(row) == 3 for row in rows) >= 50, "rows in which parse_special matters"
    lost = {0x04, 0x06, 0x13, 0x14, 0x16, 0x1D, 0xF1, 0xF2}  # this vocabulary has no tokens for them
    for text, plain, *parsed in rows:
        assert t.encode(text, add_special=False) == plain, repr(text)
        assert t.encode(text, add_special=False, parse_special=True) == (parsed[0] if parsed else plain), repr(text)
        if not lost & {*text.encode()}:
            assert t.decode(plain) == text


@pytest.mark.model
def test_goldens_of_the_other_rules(smollm2: dict[str, Any]) -> None:
    tokens, merges, texts, *rules = json.loads((GOLDENS / "rules.json").read_text())["rows"]
    changed = {
        **smollm2,
        "tokenizer.ggml.tokens": smollm2["tokenizer.ggml.tokens"] + tokens,
        "tokenizer.ggml.token_type": [*map(int, smollm2["tokenizer.ggml.token_type"]), *([NORMAL] * len(tokens))],
        "tokenizer.ggml.merges": smollm2["tokenizer.ggml.merges"] + merges,
    }
    for pre, expected in rules:
        t = load_tokenizer({**changed, "tokenizer.ggml.pre": pre})
        for text, ids in zip(texts, expected, strict=True):
            assert t.encode(text, add_special=False) == ids, (pre, text)
    assert len({json.dumps(expected) for _, expected in rules}) == len(rules) >= 8, "each rule shows"


@pytest.mark.slow
@pytest.mark.model
def test_every_character_of_unicode(smollm2: dict[str, Any]) -> None:
    """The classes of characters (letter, number, white space) are the regular expression library's, by its Unicode."""
    t = load_tokenizer(smollm2)
    expected = iter(functools.reduce(operator.iadd, json.loads((GOLDENS / "characters.json").read_text())["rows"], []))
    for block in [block for block in range(0, 0x33500, 0x100) if not 0xD800 <= block < 0xE000]:
        text = "".join(f"a{c}a1{c}1 {c}{c}!{c}" for c in map(chr, range(block, block + 0x100)))
        ids = t.encode(text, add_special=False, parse_special=True)
        assert hashlib.sha256(" ".join(map(str, ids)).encode()).hexdigest()[:8] == next(expected), f"U+{block:04X}"
    assert next(expected, None) is None


@pytest.mark.model
def test_the_default_model(smollm2: dict[str, Any]) -> None:
    t = load_tokenizer(smollm2)
    assert (t.n_vocab, t.bos_id, t.eos_id, t.add_bos, t.add_eos) == (49152, 1, 2, False, False)
    assert {t.token(i) for i in t.end_ids} == {"<|im_end|>", "<|endoftext|>"}
    assert len(t.special_tokens) == 17
