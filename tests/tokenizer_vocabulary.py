"""A small byte-level BPE vocabulary, whole or changed, and texts to try it on."""

import itertools
import random
from typing import Any

import numpy as np

from pyruntime.tokenizer import Tokenizer, load_tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


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
    """A vocabulary: three special tokens, the bytes, some merges. `changes` are tokenizer.ggml keys
    or, with a dot in them, any other; None removes."""
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
    named = {key if "." in key else f"tokenizer.ggml.{key}": value for key, value in values.items()}
    return {key: value for key, value in named.items() if value is not None}


def small(**changes: Any) -> Tokenizer:
    return load_tokenizer(metadata(**changes), "m.gguf")


def random_texts(n: int, alphabet: str = CHARS) -> list[str]:
    draw = random.Random(7)
    return ["".join(draw.choices(alphabet, k=draw.randint(1, 40))) for _ in range(n)]


def any_texts(n: int) -> list[str]:
    return random_texts(n, "".join(chr(c) for c in range(0, 0x110000, 7) if not 0xD800 <= c < 0xE000))
