"""Vocabularies of every kind: any metadata and any text. A vocabulary is refused, or text becomes ids of it and ids text.

An input is JSON: {"metadata": {key after "tokenizer.ggml.": value}, "text": "..."}. Lists of numbers and of booleans become
what the GGUF reader makes of arrays.
"""

from __future__ import annotations

import copy
import json
import random
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from harness import check_message, mutate_bytes, require, splice
from tokenizer_vocabulary import ALPHABET

from pyruntime.errors import GGUFError, UnsupportedError
from pyruntime.tokenizer import StreamDecoder, Tokenizer, load_tokenizer
from pyruntime.tokenizer.pretokenizers import RULES
from pyruntime.tokenizer.token_type import TokenType

MARK = "\U000f0001"
KINDS = ("gpt2", "gemma4", "llama", "t5", "bert")
NUMBERS = (0, 1, 2, 3, 4, 5, 6, 7, -1, 255, 256, 2**31 - 1, -(2**31), 2**32, 2**63, 0.0, -0.5, 1e30, -1e30, 1e300)
STRINGS = ("", " ", "a", "b", "ab", "▁", "▁a", "##a", "<s>", "</s>", "<0x41>", "<0xFF>", "[UNK]", "[CLS]", "[SEP]", "\0",
    "\n", "\n\n", "é", "e\u0301", "中", "😀", "\ufffd", "Ġ", "Ġa", "<|end|>", "<mask>", "<｜end▁of▁sentence｜>", MARK,
    "\x1b[31m", "a b", "b a", "aa", "x" * 300)  # fmt: skip
KEYS = ("model", "pre", "tokens", "token_type", "scores", "merges", "bos_token_id", "eos_token_id", "unknown_token_id",
    "eot_token_id", "fim_pad_token_id", "padding_token_id", "cls_token_id", "seperator_token_id", "add_bos_token",
    "add_eos_token", "add_space_prefix", "remove_extra_whitespaces", "precompiled_charsmap", "normalizer.lowercase",
    "normalizer.strip_accents")  # fmt: skip
LONGEST_TEXT = 2000  # characters; longer ones are for test_time_is_linear


def run(data: bytes) -> bool:
    try:
        given = json.loads(data)
        metadata = {f"tokenizer.ggml.{key}": as_read(value) for key, value in given["metadata"].items()}
        text = str(given["text"])[:LONGEST_TEXT]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tokenizer = load_tokenizer(metadata, "m.gguf")
        except GGUFError as error:
            check_message(error)
            return "model" not in str(error)
    try:
        use(tokenizer, text, unknown_ids(tokenizer, metadata))
    except (GGUFError, UnsupportedError) as error:  # what only the library finds, and kinds that are not known
        check_message(error)
    except ValueError as error:
        check_message(error)
        require(not encodes(text), "text is what UTF-8 can hold")
    return True


def as_read(value: Any) -> Any:
    if not isinstance(value, list) or all(isinstance(v, str) for v in value):
        if isinstance(value, (dict, type(None))):
            raise ValueError("no value of a GGUF file")
        return value
    kinds = {type(v) for v in value}
    if kinds == {bool}:
        return np.array(value)
    if kinds == {int}:
        return np.array(value, np.int64 if min(value) < 0 else np.uint64)
    if kinds <= {int, float}:
        return np.array(value, np.float64)
    raise ValueError("arrays have values of one type")


def unknown_ids(tokenizer: Tokenizer, metadata: dict[str, Any]) -> set[int]:
    types = metadata.get("tokenizer.ggml.token_type", ())
    named = (metadata.get("tokenizer.ggml.unknown_token_id"), tokenizer.id_of("[UNK]"))
    return {i for i, kind in enumerate(types) if kind == TokenType.UNKNOWN} | {i for i in named if i is not None}


def encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def use(tokenizer: Tokenizer, text: str, unknown: set[int]) -> None:
    """`unknown`: what may stand for a character that no token has."""
    ids: list[int] = []
    for parse_special in (False, True):
        ids = tokenizer.encode(text, parse_special=parse_special)
        require(all(0 <= i < tokenizer.n_vocab for i in ids), "ids are of the vocabulary")
        inside = ids if parse_special else tokenizer.encode(text, add_special=False)
        forged = set(inside).intersection(tokenizer.special_tokens.values())
        require(parse_special or forged <= unknown, "plain text becomes no control token")
    require(tokenizer.encode_with_mark(text.replace(MARK, ""), MARK) == tokenizer.encode(
        text.replace(MARK, ""), add_special=False, parse_special=True), "a text without marks is as it is")  # fmt: skip
    ids += range(min(tokenizer.n_vocab, 50))
    decoder: StreamDecoder = tokenizer.stream_decoder(skip_special=False)
    streamed = "".join([decoder.push(i) for i in ids]) + decoder.finish()
    require(streamed == tokenizer.decode(ids), "what is streamed is what is decoded")


def mutate(data: bytes, draw: random.Random) -> bytes:
    try:
        given = json.loads(data)
        metadata = given["metadata"]
        if not isinstance(metadata, dict) or not isinstance(given["text"], str):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        given = {"metadata": copy.deepcopy(draw.choice(_VOCABULARIES)), "text": "ab"}
        metadata = given["metadata"]
    if draw.random() < 0.02:
        return mutate_bytes(data, draw)
    if draw.random() < 0.3:
        given["text"] = splice(given["text"], draw, STRINGS)
    else:
        key = draw.choice([*metadata, *KEYS]) if draw.random() < 0.3 else draw.choice([*metadata, "tokens", "merges"])
        if (value := other(metadata.get(key), key, draw)) is None:
            metadata.pop(key, None)
        else:
            metadata[key] = value
    return json.dumps(given, ensure_ascii=False).encode("utf-8", "surrogatepass")


def other(value: Any, key: str, draw: random.Random) -> Any:
    """A value near this one, of the same type nine times of ten; None for none."""
    if value is None or draw.random() < 0.1:
        words = [*STRINGS, *RULES] if key == "pre" else [*KINDS, "x"] if key == "model" else STRINGS
        return draw.choice(
            [None, draw.choice(NUMBERS), draw.choice(words), draw.random() < 0.5, [], [1, 2], ["a", "b"]]
        )
    if isinstance(value, list) and value:
        changed = list(value)
        at = draw.randrange(len(changed))
        match draw.randrange(5):
            case 0:
                del changed[at]
            case 1:
                changed.append(near(changed[at], draw))
            case 2:
                changed[at] = changed[draw.randrange(len(changed))]
            case _:
                changed[at] = near(changed[at], draw)
        return changed
    return near(value, draw)


def near(value: Any, draw: random.Random) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return draw.choice([type(value)(n) for n in NUMBERS] + [value + 1, value - 1])
    if isinstance(value, str):
        return splice(value, draw, STRINGS) if draw.random() < 0.5 else draw.choice(STRINGS)
    return draw.choice(["a", ["a"], 1])


_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_TABLE = [1 << 10] + [1 << 31] * 255  # of a charsmap: the root, and no character below it
_CHARSMAP = [0, 4, 0, 0, *np.array(_TABLE, "<u4").tobytes(), 0]
_PIECES: dict[str, Any] = {
    "tokens": ["<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "▁ab", "é", "<|end|>"],
    "token_type": [2, 3, 3, 1, 1, 1, 1, 1, 1, 4],
    "scores": [0.0, 0.0, 0.0, -1.0, -2.0, -3.0, -1.5, -1.2, -4.0, 0.0],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "unknown_token_id": 0,
}
_PAIRS: dict[str, Any] = {
    "tokens": ["<s>", "</s>", "a", "b", "ab", "Ġ", "Ġab", "\n", "▁", "▁ab", "<|end|>", "<mask>"],
    "token_type": [3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 4, 3],
    "merges": ["a b", "Ġ ab", "▁ ab"],
    "bos_token_id": 0,
    "eos_token_id": 1,
}
_VOCABULARIES: list[dict[str, Any]] = [
    {"model": "gpt2", "pre": "gpt-2"} | _PAIRS,
    {"model": "gpt2", "pre": "llama-bpe", "add_bos_token": True} | _PAIRS,
    {"model": "gpt2", "tokens": [*ALPHABET, "ab"], "merges": ["a b"], "pre": "deepseek-llm"},
    {"model": "gemma4"} | _PAIRS,
    {"model": "llama", "add_space_prefix": True} | _PIECES,
    {"model": "llama", "tokens": ["<unk>", *_BYTES, "a"], "scores": [0.0] * 258},
    {"model": "t5", "add_space_prefix": True, "remove_extra_whitespaces": True} | _PIECES,
    {"model": "t5", "precompiled_charsmap": _CHARSMAP} | _PIECES,
    {
        "model": "bert",
        "tokens": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁a", "b", "▁ab", "▁,", "a"],
        "token_type": [3, 3, 3, 3, 1, 1, 1, 1, 4],
        "normalizer.lowercase": True,
    },
    {"model": "rwkv", "tokens": ["a"]},
]


def seeds() -> Iterator[bytes]:
    for vocabulary in _VOCABULARIES:
        for text in ("ab a  b\n\n é<|end|>中<s>", "\0\ud800"):
            yield json.dumps({"metadata": vocabulary, "text": text}).encode()
    for rule in RULES:
        vocabulary = {"model": "gpt2", "pre": rule} | _PAIRS
        yield json.dumps({"metadata": vocabulary, "text": "Ab's 123\r\n  it,!? 中é\u3000x"}).encode()
