"""Vocabularies that cannot be, of every kind: each is refused in one line that names the file and the key, soon and cheaply.

What only one kind reads is in test_tokenizer_<kind>.py. Here are the rules that hold for all, each key under each of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_gguf
from cost import cost
from gguf_maker import ARRAY, STRING, array, gguf, kv, string

from pyruntime import Model
from pyruntime.errors import GGUFError, UnsupportedError
from pyruntime.tokenizer import Tokenizer, load_tokenizer

NORMAL, UNKNOWN, CONTROL = 1, 2, 3
TEXT = "the <tag> 中文\n\n \0 12"

# A small vocabulary of each kind; each is good.
_BPE = {"tokens": ["<s>", "</s>", "t", "h", "th"], "token_type": [3, 3, 1, 1, 1], "merges": ["t h"]}
_PIECES = {"tokens": ["<s>", "</s>", "<unk>", "t", "h", "th"], "token_type": [3, 3, 2, 1, 1, 1], "scores": [0.0] * 6}
VOCABULARIES: dict[str, dict[str, Any]] = {
    "gpt2": _BPE | {"pre": "gpt-2"},
    "gemma4": _BPE,
    "llama": _PIECES,
    "t5": _PIECES,
    "bert": {"tokens": ["[UNK]", "[CLS]", "[SEP]", "▁th"], "token_type": [2, 3, 3, 1]},
    "rwkv": {"tokens": ["<s>"]},
}
KINDS = list(VOCABULARIES)

# What the reader can find under a key. `Is` says of which sort each key's value must be.
VALUES: dict[str, Any] = {
    "integer": 1,
    "negative": -1,
    "largest": (1 << 64) - 1,
    "float": 0.5,
    "nan": float("nan"),
    "bool": True,
    "string": "x",
    "terminal": "\x1b[31m\n\u202e",
    "long": "y" * 100_000,
    "strings": ["a", "b"],
    "no strings": [],
    "integers": np.array([1, 2], np.int32),
    "bytes": np.zeros(100, np.uint8),
    "floats": np.array([0.5, np.nan], np.float32),
    "bools": np.array([True]),
    "nothing": np.zeros(0, np.float64),
}
Is = Callable[[Any], bool]


def is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def is_strings(value: Any) -> bool:
    return isinstance(value, list)


def is_array_of(kind: str) -> Is:
    """An empty array is of all kinds."""
    return lambda v: (
        isinstance(v, list | np.ndarray) and (len(v) == 0 or getattr(v, "dtype", np.dtype("U")).kind in kind)
    )


IDS = (
    "bos",
    "eos",
    "eot",
    "eom",
    "unknown",
    "padding",
    "fim_pre",
    "fim_suf",
    "fim_mid",
    "fim_pad",
    "fim_rep",
    "fim_sep",
)
EVERY_KIND: dict[str, Is] = {
    "model": lambda value: isinstance(value, str),
    "tokens": is_strings,
    "token_type": is_array_of("iu"),
    "add_bos_token": is_flag,
    "add_eos_token": is_flag,
} | {f"{name}_token_id": is_integer for name in IDS}
BYTE_PAIRS = {"merges": is_strings}
PIECES = {"scores": is_array_of("f"), "add_space_prefix": is_flag}
ONE_KIND: dict[str, dict[str, Is]] = {
    "gpt2": BYTE_PAIRS,
    "gemma4": BYTE_PAIRS,
    "llama": PIECES,
    "t5": PIECES | {"remove_extra_whitespaces": is_flag, "precompiled_charsmap": is_array_of("iu")},
    "bert": {
        "cls_token_id": is_integer,
        "seperator_token_id": is_integer,
        "normalizer.lowercase": is_flag,
        "normalizer.strip_accents": is_flag,
    },
    "rwkv": {},
}
KEYS = [(kind, key) for kind in KINDS for key in EVERY_KIND | ONE_KIND[kind]]


def load(kind: str, **changed: Any) -> Tokenizer:
    """`changed`: keys after tokenizer.ggml.; None leaves one out."""
    values = {"model": kind} | VOCABULARIES[kind] | changed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_tokenizer({f"tokenizer.ggml.{k}": v for k, v in values.items() if v is not None}, "bad.gguf")


def refusal(kind: str, **changed: Any) -> str:
    with pytest.raises(GGUFError) as caught:
        load(kind, **changed)
    assert type(caught.value) is GGUFError
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) < 300
    return said


@pytest.mark.parametrize("kind", KINDS)
def test_the_vocabularies_are_good_as_they_are(kind: str) -> None:
    assert load(kind).n_vocab == len(VOCABULARIES[kind]["tokens"])


@pytest.mark.parametrize(("kind", "key"), KEYS)
def test_a_value_of_another_type(kind: str, key: str) -> None:
    fits = (EVERY_KIND | ONE_KIND[kind])[key]
    wrong = {name: value for name, value in VALUES.items() if not fits(value)}
    assert len(wrong) > 10
    with cost() as spent:
        for value in wrong.values():
            assert refusal(kind, **{key: value}).startswith(f"bad.gguf: tokenizer.ggml.{key}")
    assert spent.seconds < 2
    assert spent.megabytes < 50


@pytest.mark.parametrize(("kind", "key"), KEYS)
def test_a_value_of_the_right_type(kind: str, key: str) -> None:
    """Whatever it is: text becomes ids of the vocabulary, or the error is ours."""
    fits = (EVERY_KIND | ONE_KIND[kind])[key]
    messages = []
    for value in filter(fits, VALUES.values()):
        try:
            tokenizer = load(kind, **{key: value})
            ids = tokenizer.encode(TEXT, parse_special=True)
            tokenizer.decode(ids)
        except (GGUFError, UnsupportedError) as error:
            messages.append(str(error))
        else:
            assert all(0 <= i < tokenizer.n_vocab for i in ids)
    for said in messages:
        assert said.isprintable()
        assert len(said) < 300
        assert said.startswith("bad.gguf: ")
        assert "tokenizer.ggml." in said


@pytest.mark.parametrize(("kind", "key"), [(kind, key) for kind, key in KEYS if key.endswith("_token_id")])
def test_an_id_outside_the_vocabulary(kind: str, key: str) -> None:
    n = len(VOCABULARIES[kind]["tokens"])
    load(kind, **{key: n - 1})
    for value in (-1, n, 1 << 31, (1 << 32) - 1, 1 << 61, 1 << 63, (1 << 64) - 1, -(1 << 63)):
        said = refusal(kind, **{key: value})
        assert said == f"bad.gguf: tokenizer.ggml.{key} is {value}, outside the vocabulary of {n} tokens"


@pytest.mark.parametrize("change", [-1, 1, -10_000, 100_000])
@pytest.mark.parametrize(("kind", "key"), [(kind, key) for kind in KINDS for key in ("token_type", "scores")])
def test_not_one_entry_a_token(kind: str, key: str, change: int) -> None:
    if key not in EVERY_KIND | ONE_KIND[kind]:
        assert load(kind, **{key: np.zeros(7)}).n_vocab  # another kind's
        return
    n = len(VOCABULARIES[kind]["tokens"])
    given = max(0, n + change)
    said = refusal(kind, **{key: np.zeros(given, np.int32 if key == "token_type" else np.float32)})
    assert said == f"bad.gguf: tokenizer.ggml.{key} has {given} entries for {n} tokens"


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_that_is_there_twice(kind: str) -> None:
    tokens = VOCABULARIES[kind]["tokens"]
    for token in ("a", "\x1b[31m\n", "z" * 100_000, "\0"):
        said = refusal(kind, tokens=[*tokens, token, token])
        assert said.startswith("bad.gguf: tokenizer.ggml.tokens holds ")
        assert said.endswith(f"twice, as {len(tokens)} and {len(tokens) + 1}")


@pytest.mark.parametrize(("kind", "key"), [(kind, key) for kind, key in KEYS if key in ("tokens", "merges")])
def test_more_strings_than_any_model_has(kind: str, key: str) -> None:
    said = refusal(kind, **{key: ["a"] * (1 << 21)})
    assert said == f"bad.gguf: tokenizer.ggml.{key} has {1 << 21} entries, where at most {1 << 20} may be"


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_vocabulary_takes_little_time_and_memory(kind: str) -> None:
    """As many tokens as there may be, one of them there twice; as many merges, the last of them wrong."""
    tokens = [f"{i:05x}" for i in range(1 << 20)]
    tokens[-1] = tokens[0]
    with cost() as spent:
        assert "twice, as 0 and 1048575" in refusal(kind, tokens=tokens)
    assert spent.seconds < 2
    assert spent.megabytes < 500
    if "merges" in ONE_KIND[kind]:
        merges = [*["t h"] * ((1 << 20) - 1), "h h"]
        with cost() as spent:
            assert "merges[1048575] names 'hh', which is not a token" in refusal(kind, merges=merges)
        assert spent.seconds < 2
        assert spent.megabytes < 500


# In files


def test_what_is_wrong_with_the_words_is_said_when_words_are_wanted(tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / "bad.gguf", metadata={"tokenizer.ggml.token_type": [1] * 5})
    with Model(path, threads=1) as model:
        assert model.logits([1, 2]).shape == (2, tiny_gguf.N_VOCAB)
        for use in (lambda: model.encode("a"), lambda: model.tokenizer, lambda: model.generate("a")):
            with pytest.raises(GGUFError, match=r"bad\.gguf: tokenizer\.ggml\.token_type has 5 entries for"):
                use()


def test_more_tokens_than_the_model_has_rows(tmp_path: Path) -> None:
    tokens = [*tiny_gguf.TOKENS, "one more"]
    path = tiny_gguf.write(
        tmp_path / "bad.gguf", metadata={"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": None}
    )
    with Model(path, threads=1) as model, pytest.raises(GGUFError) as caught:
        model.encode("a")
    assert f"{path}: metadata tokenizer.ggml.tokens: {len(tokens)} tokens, but the model has rows for" in str(
        caught.value
    )


def test_a_path_that_a_terminal_would_obey(tmp_path: Path) -> None:
    path = tmp_path / "a\nb\x1b[31m.gguf"
    path.write_bytes(gguf((kv("tokenizer.ggml.tokens", ARRAY, array(STRING, string("a"))),)).data)
    with pytest.raises(GGUFError) as caught:
        Tokenizer.from_gguf(str(path))
    assert str(caught.value).isprintable()
    assert str(caught.value).endswith(r"a\nb\x1b[31m.gguf: tokenizer.ggml.model is missing")
