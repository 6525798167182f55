"""The numbers that shape a model, read out of GGUF metadata and checked: everything in a file is hostile until it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from pyruntime.errors import GGUFError, printable, shown
from pyruntime.plan import Weight

DEFAULT_CONTEXT = 8192  # positions, unless the model has fewer or the caller wants more
_LARGEST = 1 << 20  # of a size; no model comes near, and products of three stay far below 2^63


class HParams:
    """Metadata of one architecture by its short keys: `hp.integer("block_count")` is `llama.block_count` in a llama file."""

    def __init__(self, metadata: Mapping[str, Any], architecture: str, path: str, context: int | None = None) -> None:
        self.path = printable(path)  # for messages
        self._metadata = metadata
        self._architecture = architecture
        self.n_layers = self.integer("block_count")
        self.d_model = self.integer("embedding_length")
        self.n_heads = self.integer("attention.head_count")
        self.n_kv_heads = self.integer("attention.head_count_kv", self.n_heads)
        self.context_length = self.integer("context_length", 2048, largest=1 << 31)
        if self.n_heads % self.n_kv_heads:
            self.fail("attention.head_count_kv", f"{self.n_kv_heads} does not divide the {self.n_heads} heads")
        if "attention.key_length" not in self and self.d_model % self.n_heads:
            self.fail("attention.head_count", f"{self.n_heads} heads do not divide embedding_length {self.d_model}")
        self.head_dim = self.integer("attention.key_length", self.d_model // self.n_heads)
        self.value_dim = self.integer("attention.value_length", self.head_dim)
        self.context = context or min(self.context_length, DEFAULT_CONTEXT)  # positions that the model is loaded for

    def __contains__(self, key: str) -> bool:
        """Whether the file says it. Many writers leave a number of 0 where they mean that it does not."""
        value = self._metadata.get(self._full(key))
        return value is not None and not _is_zero(value)

    def integer(self, key: str, default: int | None = None, smallest: int = 1, largest: int = _LARGEST) -> int:
        """A whole number of `smallest` to `largest`; GGUFError if it is missing without a default, or anything else. With a
        default, 0 counts as missing."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not smallest <= value <= largest:
            self.fail(key, f"is {shown(value)}, not a whole number of {smallest} to {largest}")
        return int(value)

    def count(self, key: str) -> int:
        """A whole number from 0; absent is 0."""
        return self.integer(key) if key in self else 0

    def number_or_zero(self, key: str) -> float:
        """A positive finite number, or 0 where it is not set."""
        return self.number(key) if key in self else 0.0

    def number(self, key: str, default: float | None = None) -> float:
        """A positive finite number; with a default, 0 counts as missing."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            self.fail(key, f"is {shown(value)}, not a positive number")
        return float(value)

    def text(self, key: str, default: str) -> str:
        value = self._get(key, default)
        if not isinstance(value, str):
            self.fail(key, f"is {shown(value)}, not a string")
        return str(value)

    def fail(self, key: str, what: str) -> NoReturn:
        raise GGUFError(f"{self.path}: metadata {self._full(key)}: {what}")

    def flag(self, key: str, default: bool) -> bool:
        value = self._metadata.get(self._full(key), default)
        if not isinstance(value, bool):
            self.fail(key, f"is {shown(value)}, not a boolean")
        return bool(value)

    def pattern(self, key: str, default: list[bool]) -> list[bool]:
        """Of each layer whether it has something: a list of booleans, or a number n: all but every n-th."""
        value = self._get(key, default)
        if isinstance(value, int):
            every = self.integer(key)
            return [(i + 1) % every != 0 for i in range(self.n_layers)]
        flags = list(value) if isinstance(value, Sequence) or hasattr(value, "tolist") else []  # a file's are an array
        if len(flags) != self.n_layers or any(flag not in (0, 1) for flag in flags):
            self.fail(key, f"is {shown(value)}, not a number or {self.n_layers} booleans")
        return [bool(flag) for flag in flags]

    def fail_shape(self, weight: Weight, needed: tuple[int, ...]) -> NoReturn:
        raise GGUFError(f"{self.path}: tensor {weight.name}: shape {weight.shape} where {needed} is needed")

    def _get(self, key: str, default: Any) -> Any:
        value = self._metadata.get(self._full(key))
        if value is None and default is None:
            self.fail(key, "is missing")
        return default if value is None or (default is not None and _is_zero(value)) else value

    def _full(self, key: str) -> str:
        return f"{self._architecture}.{key}"


def _is_zero(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0
