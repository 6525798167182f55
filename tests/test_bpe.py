"""Byte-level BPE: against a naive one written here, and against llama.cpp with the default model's vocabulary."""

import functools
import hashlib
import itertools
import json
import operator
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from tokenizer_vocabulary import ALPHABET, TEXT, merges_of, random_texts, small

from pyruntime import _core
from pyruntime.errors import UnsupportedError
from pyruntime.tokenizer import Tokenizer, load_tokenizer

GOLDENS = Path(__file__).parent / "data" / "tokenizer"


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


@pytest.mark.parametrize(("pre", "single_digits"), [("smollm", True), ("gpt-2", False)])
def test_equals_naive_bpe(pre: str, single_digits: bool) -> None:
    t = small(pre=pre)
    merges = merges_of(TEXT, 60)
    for text in [TEXT, *random_texts(400)]:
        assert t.encode(text, add_special=False) == naive_encode(t, text, merges, single_digits), repr(text)


def test_words_taken_whole() -> None:
    t = small(pre="llama-bpe", tokens=[*ALPHABET, "hello"], token_type=None, merges=[])
    assert t.encode("hello", add_special=False) == [256]
    assert len(t.encode("hellos", add_special=False)) == 6


def test_bytes_without_a_token_are_left_out_and_still_part_their_neighbours() -> None:
    tokens = [char for char in ALPHABET if char != ALPHABET[4]] + ["!!"]
    t = small(tokens=tokens, token_type=None, merges=["! !"])
    assert t.decode(t.encode("!!\x04!\x04!")) == "!!!!"
    assert t.encode("!\x04!", add_special=False) == [tokens.index("!")] * 2


def test_of_a_merge_given_twice_the_first_rank_counts() -> None:
    changes: dict[str, Any] = {"tokens": [*ALPHABET, "ab", "bc"], "token_type": None}
    t = small(merges=["a b", "b c", "a b"], **changes)
    assert t.token(t.encode("abc", add_special=False)[0]) == "ab"


@pytest.mark.parametrize("pre", ["smollm", "gpt-4o", "deepseek-llm"])
@pytest.mark.parametrize("unit", ["t", " ", "中文"])
def test_a_million_bytes_of_one_kind(pre: str, unit: str) -> None:
    """0.4 to 0.9 s of one core of a shared server; a quadratic algorithm would take hours."""
    t = small(pre=pre)
    text = unit * (1_000_000 // len(unit.encode()))
    start = time.process_time()
    ids = t.encode(text, add_special=False)
    assert time.process_time() - start < 4
    assert t.decode(ids) == text


@pytest.mark.parametrize(
    "pre", ["smollm", "llama-bpe", "qwen2", "qwen35", "deepseek-v3", "kimi-k2", "bloom", "default"]
)
@pytest.mark.parametrize("unit", ["t", " ", "中文", "\n", "1", "!", " \n", "A", "aB", "<|im_end|>"])
def test_time_is_linear(pre: str, unit: str) -> None:
    """A hundred thousand characters of one kind: a quadratic algorithm would take minutes."""
    t = small(pre=pre)
    text = unit * (100_000 // len(unit))
    start = time.process_time()
    ids = t.encode(text, add_special=False, parse_special=True)
    assert time.process_time() - start < 2
    assert t.decode(ids) == text


def test_a_text_beyond_the_library_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    """Its regular expressions count to ten million; what is past that is an error of ours, not a panic that ends a thread."""
    t = small(pre="gpt-4o")
    text = " \n" * 5_000_000
    with pytest.raises(UnsupportedError, match="a text of 10000000 characters is beyond"):
        t.encode(text)
    assert "retry-limit-in-match" in capfd.readouterr().err, "the library says so, too"
    assert t.decode(t.encode("still here")) == "still here"


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
    assert {t.token(i) for i in t.end_ids} == {"<|im_end|>", "<|endoftext|>", "<reponame>"}
    assert len(t.special_tokens) == 17
