"""WordPiece against the original and llama.cpp (stored ids), against BERT's rules written here, and hostile metadata."""

import random
import time
import unicodedata
from typing import Any

import pytest
from piece_goldens import check_streaming, metadata, rows, texts, tokenizer, with_special
from tokenizers import decoders

from pyruntime.errors import GGUFError
from pyruntime.tokenizer import Tokenizer, load_tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = range(1, 6)
WORDS = ["▁a", "▁b", "a", "b", "ab", "▁ab", "▁aba", "▁中", "中", "▁!", "▁e", "e", "▁ß", "ß", "▁A", "▁é", "é", "▁1", "1"]


def small(tokens: list[str] = WORDS, **changes: Any) -> Tokenizer:
    """[PAD], [UNK], [CLS], [SEP], then `tokens`."""
    values: dict[str, Any] = {
        "model": "bert",
        "tokens": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *tokens],
        "token_type": [CONTROL] * 4 + [NORMAL] * len(tokens),
        "unknown_token_id": 1,
        "bos_token_id": 2,
        "seperator_token_id": 3,
    } | {key.replace("__", "."): value for key, value in changes.items()}
    return load_tokenizer({f"tokenizer.ggml.{k}": v for k, v in values.items() if v is not None}, "m.gguf")


def pieces_of(t: Tokenizer, text: str, **options: Any) -> list[str]:
    return [t.token(i) for i in t.encode(text, add_special=False, **options)]


def berts_words(text: str) -> list[str]:
    """Cleaned, lower-cased, without accents, split at white space, punctuation and Chinese characters."""
    out = []
    for char in text:
        if char in "\t\n\r" or unicodedata.category(char) == "Zs":
            out.append(" ")
        elif char not in "\0\ufffd" and unicodedata.category(char)[0] != "C":
            out.append(f" {char} " if "\u4e00" <= char <= "\u9fff" else char)
    plain = unicodedata.normalize("NFD", "".join(out))
    plain = "".join(char for char in plain if unicodedata.category(char) != "Mn").lower()
    split = (f" {c} " if unicodedata.category(c)[0] == "P" or (c.isascii() and is_symbol(c)) else c for c in plain)
    return "".join(split).split()


def is_symbol(char: str) -> bool:
    return char.isprintable() and not char.isalnum() and char != " "


def naive_pieces(text: str, known: set[str]) -> list[str]:
    out = []
    for word in berts_words(text):
        pieces, rest = [], "▁" + word
        while rest and (fits := [rest[:n] for n in range(len(rest), 0, -1) if rest[:n] in known]):
            pieces.append(fits[0])
            rest = rest[len(fits[0]) :]
        out += ["[UNK]"] if rest or len(word) > 100 else pieces
    return out


def test_equals_the_original() -> None:
    """The checkpoint's own tokenizer.json, in `tokenizers`."""
    t = tokenizer("bert")
    compared = 0
    for text, ids in rows("bert", "tokenizers"):
        assert t.encode(text, add_special=False) == ids, repr(text)
        compared += 1
    assert compared >= 2000


def test_equals_llama_cpp_where_it_equals_the_original() -> None:
    """It decomposes no Hangul, drops spacing marks and joins what C0 controls part: some 140 of the texts."""
    t = tokenizer("bert")
    original = dict(rows("bert", "tokenizers"))
    compared = 0
    for text, ids in rows("bert", "llama.cpp"):
        if original.get(text) == ids:
            assert t.encode(text, add_special=False) == ids
            compared += 1
    assert compared >= 2000
    for text, ids in rows("bert", "llama.cpp, parse_special"):
        if "[" in text and text not in original:
            assert t.encode(text, add_special=False, parse_special=True) == ids, repr(text)
    for text, ids in with_special("bert"):
        if original.get(text) == ids[1:-1]:
            assert t.encode(text) == ids


def test_equals_berts_rules() -> None:
    t = small()
    known = set(WORDS)
    draw = random.Random(1)
    for _ in range(2000):
        text = "".join(draw.choices("aabbAB éÉe\u0301中!$ß1\t\n\u00a0\0\ufffd\u200d", k=draw.randint(1, 30)))
        assert pieces_of(t, text) == naive_pieces(text, known), repr(text)
    for n in (99, 100, 101):
        assert pieces_of(t, "b" * n) == naive_pieces("b" * n, known)
    assert pieces_of(t, "b" * 101) == ["[UNK]"]


def test_case_and_accents() -> None:
    assert pieces_of(small(), "AÉ") == ["▁a", "e"]
    assert pieces_of(small(normalizer__lowercase=False), "A é") == ["▁A", "▁é"]
    assert pieces_of(small(normalizer__strip_accents=False), "A é") == ["▁a", "▁é"]
    assert pieces_of(small(normalizer__lowercase=False, normalizer__strip_accents=True), "A é") == ["▁A", "▁e"]


def test_special_tokens() -> None:
    t = small()
    assert t.encode("a") == [2, 4, 3]
    assert t.encode("") == [2, 3]
    assert not {0, 2, 3} & {*t.encode("[CLS][SEP][PAD]", add_special=False)}
    assert t.encode("[CLS]a[SEP]", add_special=False, parse_special=True) == [2, 4, 3]
    assert (t.add_bos, t.bos_id) == (True, 2)
    by_name = small(unknown_token_id=None, bos_token_id=None, seperator_token_id=None)
    assert by_name.encode("a x") == [2, 4, 1, 3]
    assert small(bos_token_id=None, cls_token_id=0).encode("a") == [0, 4, 3]


def test_decode() -> None:
    t = tokenizer("bert")
    text = "the quick brown fox, who? it is embedding."
    ids = t.encode(text)
    assert t.decode(ids, skip_special=True) == text
    assert t.decode(ids) == f"[CLS]{text}[SEP]"
    assert t.decode(ids[1:2], at_start=False) == " the"
    original = decoders.WordPiece(prefix="##", cleanup=True)
    for text in texts():
        ids = t.encode(text)
        check_streaming(t, ids, skip_special=True)
        spelled = [t.token(i) for i in ids if t.token(i) not in t.special_tokens]
        spelled = [token[1:] if token.startswith("▁") else f"##{token}" for token in spelled]
        assert t.decode(ids, skip_special=True) == original.decode(spelled)
    draw = random.Random(3)
    for _ in range(200):
        check_streaming(
            t, draw.choices(range(t.n_vocab), k=draw.randint(0, 20)), skip_special=False, at_start=draw.random() < 0.5
        )


def test_odd_vocabularies_still_encode() -> None:
    """Words no text becomes, words that collide with continuations once both are spelled BERT's way, a NUL, unused tokens."""
    tokens = ["▁##a", "a", "▁a", "▁[UNK]", "▁", "\0", "x" * 10_000, "▁b", "", "▁\0"]
    t = small(tokens, token_type=[CONTROL] * 4 + [NORMAL] * 3 + [77, -1, USER_DEFINED, UNKNOWN, UNUSED, NORMAL, NORMAL])
    assert pieces_of(t, "aa b [UNK]") == ["▁a", "a", "▁b", "[UNK]", "[UNK]", "[UNK]"]
    assert t.decode(range(t.n_vocab)).startswith("[PAD]")
    assert small([]).encode("a") == [2, 1, 3]


MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({"bos_token_id": 99}, "bos_token_id is 99, outside the vocabulary of 23 tokens"),
    ({"seperator_token_id": -1}, "seperator_token_id is -1, outside the vocabulary of 23 tokens"),
    ({"normalizer__lowercase": 1}, "normalizer.lowercase is of type int, not bool"),
    ({"normalizer__strip_accents": "x"}, "normalizer.strip_accents is of type str, not bool"),
]


@pytest.mark.parametrize(("changes", "message"), MALFORMED, ids=[message for _, message in MALFORMED])
def test_malformed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(GGUFError) as error:
        small(**changes)
    assert str(error.value) == f"m.gguf: tokenizer.ggml.{message}"


@pytest.mark.parametrize(("key", "name"), [("unknown", "[UNK]"), ("bos", "[CLS]"), ("seperator", "[SEP]")])
def test_a_special_token_that_is_not_there(key: str, name: str) -> None:
    tokens = [token if token != name else "gone" for token in metadata("bert")["tokenizer.ggml.tokens"]]
    with pytest.raises(GGUFError) as error:
        tokenizer("bert", tokens=tokens, **{f"{key}_token_id": None})
    assert str(error.value) == f"m.gguf: tokenizer.ggml.{key}_token_id is missing, and there is no token {name}"


@pytest.mark.parametrize("unit", ["a", " ", "中", "é", "!", "\0", "a ", "\n", "한"])
def test_time_is_linear(unit: str) -> None:
    """A million bytes of one kind: a quadratic algorithm would take hours."""
    t = tokenizer("bert")
    text = unit * (1_000_000 // len(unit.encode()))
    start = time.perf_counter()
    t.encode(text)
    assert time.perf_counter() - start < 5  # 0.1 to 0.7 s on a quiet machine
