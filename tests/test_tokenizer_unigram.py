"""Unigram against sentencepiece and llama.cpp (stored ids), against a naive search written here, and against hostile metadata."""

import random
import struct
import time
from typing import Any

import numpy as np
import pytest
from piece_goldens import check_streaming, metadata, rows, texts, tokenizer, with_special

from pyruntime.errors import GGUFError
from pyruntime.tokenizer import Tokenizer, load_tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def small(pieces: dict[str, float], **changes: Any) -> Tokenizer:
    """<pad>, </s>, <unk>, then `pieces` with their scores."""
    values: dict[str, Any] = {
        "model": "t5",
        "tokens": ["<pad>", "</s>", "<unk>", *pieces],
        "scores": [0.0, 0.0, 0.0, *pieces.values()],
        "token_type": [CONTROL, CONTROL, UNKNOWN] + [NORMAL] * len(pieces),
        "eos_token_id": 1,
        "unknown_token_id": 2,
    } | changes
    return load_tokenizer({f"tokenizer.ggml.{k}": v for k, v in values.items() if v is not None}, "m.gguf")


def pieces_of(t: Tokenizer, text: str, **options: Any) -> list[str]:
    return [t.token(i) for i in t.encode(text, add_special=False, **options)]


def best_score(text: str, scores: dict[str, float]) -> float:
    """Of all ways to cut the text; a character that is no piece costs 10 more than the worst piece."""
    worst = min(scores.values()) - 10
    best = [0.0] + [-np.inf] * len(text)
    for end in range(1, len(text) + 1):
        for start in range(end):
            piece = text[start:end]
            score = scores.get(piece, worst if len(piece) == 1 else -np.inf)
            best[end] = max(best[end], best[start] + score)
    return best[-1]


def test_equals_sentencepiece() -> None:
    t = tokenizer("t5")
    compared = 0
    for text, ids in rows("t5", "sentencepiece"):
        assert t.encode(text, add_special=False) == ids, repr(text)
        compared += 1
    assert compared >= 2000


@pytest.mark.parametrize(("oracle", "parsed"), [("llama.cpp", False), ("llama.cpp, parse_special", True)])
def test_equals_llama_cpp_but_for_rounding(oracle: str, parsed: bool) -> None:
    """llama.cpp adds scores in float64, sentencepiece in float32: two cuts that are equal but for rounding."""
    t = tokenizer("t5")
    score = dict(zip(metadata("t5")["tokenizer.ggml.tokens"], metadata("t5")["tokenizer.ggml.scores"], strict=True))
    others = 0
    for text, ids in rows("t5", oracle):
        found = t.encode(text, add_special=False, parse_special=parsed)
        others += found != ids
        sums = [sum(score[t.token(i)] for i in cut) for cut in (found, ids)]
        assert sums[0] == pytest.approx(sums[1], rel=1e-6), repr(text)
    assert others <= 2
    for text, ids in with_special("t5"):
        assert t.encode(text) == ids, repr(text)


def test_equals_a_naive_search() -> None:
    draw = random.Random(5)
    for _ in range(60):
        words = {"".join(draw.choices("ab▁é中", k=draw.choice([1, 1, 2, 3, 4]))) for _ in range(30)}
        scores = {word: draw.randrange(-640, -1) / 64 for word in sorted(words)}  # sums are exact
        t = small(scores)
        for _ in range(20):
            text = "".join(draw.choices("ab é中", k=draw.randint(1, 20)))
            pieces = pieces_of(t, text)
            known = [piece for piece in pieces if piece != "<unk>"]
            if len(known) == len(pieces):  # neighbouring unknown characters share a token
                assert "".join(pieces) == text.replace(" ", "▁")
                assert sum(map(scores.__getitem__, pieces)) == best_score(text.replace(" ", "▁"), scores)
            else:
                assert not {*text.replace(" ", "▁")} <= {*scores}


def test_white_space_and_prefix() -> None:
    scores = {"▁": -1.0, "a": -2.0, "▁a": -2.5}
    both = small(scores, add_space_prefix=True, remove_extra_whitespaces=True)
    assert pieces_of(both, "  a   a ") == ["▁a", "▁a"]
    assert pieces_of(both, "   ") == []
    assert pieces_of(small(scores, add_space_prefix=True), " a") == ["▁", "▁a"]
    assert pieces_of(small(scores), " a ") == ["▁a", "▁"]
    assert both.decode(both.encode("a a"), skip_special=True) == "a a"
    assert small(scores).decode(small(scores).encode(" a", add_special=False)) == " a"


def test_normalization() -> None:
    t = tokenizer("t5")
    for text, plain in (
        ("ｆｕｌｌ　ｗｉｄｔｈ", "full width"),
        ("e\u0301", "é"),
        ("a\t\nb", "a b"),
        ("ﬁ", "fi"),
        ("\x01x", "x"),
    ):
        assert t.encode(text) == t.encode(plain), text
    assert tokenizer("t5", precompiled_charsmap=None).encode("ﬁ") != t.encode("fi")


def test_unknown_characters_share_a_token() -> None:
    t = small({"a": -1.0})
    assert pieces_of(t, "axyza") == ["a", "<unk>", "a"]
    assert t.decode([2]) == "<unk>"


def test_bytes_instead_of_unknown() -> None:
    names = [f"<0x{byte:02X}>" for byte in range(256)]
    t = small({"a": -1.0} | dict.fromkeys(names, 0.0), token_type=[CONTROL, CONTROL, UNKNOWN, NORMAL] + [BYTE] * 256)
    assert pieces_of(t, "aé") == ["a", "<0xC3>", "<0xA9>"]
    assert t.decode(t.encode("aé", add_special=False)) == "aé"


def test_special_tokens_by_who_asks() -> None:
    t = tokenizer("t5")
    assert pieces_of(t, "</s>a", parse_special=True)[0] == "</s>"
    assert not set(t.special_tokens.values()) & {*t.encode("<pad></s><|im_start|>", add_special=False)} - {
        t.id_of("<unk>")
    }
    assert pieces_of(t, "a<think>a") == ["▁a", "<think>", "▁a"]


def test_bos_and_eos() -> None:
    t = small({"a": -1.0})
    assert (t.add_bos, t.add_eos, t.encode("a"), t.encode("")) == (False, True, [3, 1], [1])
    assert small({"a": -1.0}, add_eos_token=False).encode("a") == [3]
    assert small({"a": -1.0}, eos_token_id=None).encode("a") == [3]


def test_streaming() -> None:
    t = tokenizer("t5")
    draw = random.Random(3)
    for text in texts():
        check_streaming(t, t.encode(text), skip_special=True)
    for _ in range(200):
        ids = draw.choices(range(t.n_vocab), k=draw.randint(0, 20))
        check_streaming(t, ids, skip_special=False, at_start=draw.random() < 0.5)


def charsmap(units: list[int], replacements: bytes = b"\0") -> list[int]:
    return [*struct.pack("<I", 4 * len(units)), *np.array(units, "<u4").tobytes(), *replacements]


LEAF, BLOCKS, VALUE = 1 << 8, 1 << 9, 1 << 31
AT = 1 ^ ord("a")  # where the unit of a first character a stands


def table(unit: int) -> list[int]:
    """512 units: the root, whose base is 1, `unit` with the label a below it, and the value 0 everywhere else."""
    units = [1 << 10] + [VALUE] * 511
    units[AT] = ord("a") | unit
    return units


MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({"precompiled_charsmap": "x"}, "is not an array of bytes"),
    ({"precompiled_charsmap": [300]}, "is not an array of bytes"),
    ({"precompiled_charsmap": [0, 4, 0]}, "has a table of 1024 bytes in 3"),
    ({"precompiled_charsmap": charsmap([0] * 255)}, "has a table of 1020 bytes in 1025"),
    ({"precompiled_charsmap": charsmap([0] * 256, b"")}, "has a table of 1024 bytes in 1028"),
    ({"precompiled_charsmap": charsmap(table(0), b"x")}, "does not end with NUL"),
    ({"remove_extra_whitespaces": 1}, "is of type int, not bool"),
]
TO_128 = LEAF | (AT ^ 128) << 10  # a match, its value at 128
UNSOUND = {
    "a base outside": table(1 << 20),
    "a base outside, in blocks": table(BLOCKS | 2 << 10),
    "a replacement outside": table(TO_128)[:128] + [VALUE | 1] * 384,
    "a root that is a value": [VALUE] * 512,
    "matches without end": table(LEAF | (AT ^ 1) << 10),
}


@pytest.mark.parametrize(("changes", "message"), MALFORMED, ids=[message for _, message in MALFORMED])
def test_malformed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(GGUFError) as error:
        small({"a": -1.0}, **changes)
    assert str(error.value) == f"m.gguf: tokenizer.ggml.{next(iter(changes))} {message}"


@pytest.mark.parametrize("units", UNSOUND.values(), ids=UNSOUND)
def test_a_table_that_leads_astray_is_refused(units: list[int]) -> None:
    with pytest.raises(GGUFError, match="has a table that points outside itself or matches too deep"):
        small({"a": -1.0}, precompiled_charsmap=charsmap(units))


def test_a_small_table() -> None:
    t = small({"a": -1.0, "b": -1.0}, precompiled_charsmap=charsmap(table(TO_128), b"b\0"))
    assert pieces_of(t, "aba") == ["b", "b", "b"]


@pytest.mark.parametrize("seed", range(20))
def test_mutated_tables_are_refused_or_harmless(seed: int) -> None:
    draw = random.Random(seed)
    good = metadata("t5")
    data = bytearray(good["tokenizer.ggml.precompiled_charsmap"])
    for _ in range(draw.choice([1, 1, 2, 10, 100])):
        data[draw.randrange(4, len(data))] = draw.randrange(256)
    try:
        t = load_tokenizer(good | {"tokenizer.ggml.precompiled_charsmap": [*data]})
    except GGUFError:
        return
    for text in texts()[::20]:
        assert all(0 <= i < t.n_vocab for i in t.encode(text))


@pytest.mark.parametrize("unit", ["a", " ", "中", "é", "!", "\0", "\U000f0000", "ab ", "<think>", "\n"])
def test_time_is_linear(unit: str) -> None:
    """A million bytes of one kind: a quadratic algorithm would take hours."""
    t = tokenizer("t5")
    text = unit * (1_000_000 // len(unit.encode()))
    start = time.perf_counter()
    t.encode(text)
    assert time.perf_counter() - start < 5  # 0.1 to 0.9 s on a quiet machine
