"""The tensors of a file by their standard names, as an architecture file sees them: shapes and types, no data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyruntime.errors import GGUFError, printable

if TYPE_CHECKING:
    from pyruntime import _core

QUANTIZED_BLOCK = 32  # types with blocks take quantized activations; F32, F16 and BF16 take float32 ones
FLOAT_TYPES = frozenset({"F32", "F16", "BF16"})


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor: `shape` is (n,) for a vector, (rows, cols) for a matrix that maps cols to rows, (n, rows, cols) for n of them."""

    name: str
    type: str
    shape: tuple[int, ...]

    @property
    def quantized(self) -> bool:
        return self.type not in FLOAT_TYPES

    def as_row(self) -> Weight:
        """A vector as a matrix of one row, for a product; a matrix is itself."""
        return dataclasses.replace(self, shape=(1, *self.shape)) if len(self.shape) == 1 else self


class Weights:
    """Tensors by short name: `w["token_embd"]` is `token_embd.weight`; `w.block(3)["attn_q"]` is `blk.3.attn_q.weight`."""

    def __init__(self, tensors: Mapping[str, Weight], path: str, prefix: str = "") -> None:
        self._tensors = tensors
        self._path = path
        self._prefix = prefix

    @classmethod
    def of(cls, file: _core.GGUF) -> Weights:
        """All tensors of a file."""
        return cls({t.name: Weight(t.name, t.type_name, t.shape) for t in file.tensors}, printable(file.path))

    def __contains__(self, name: str) -> bool:
        return self._full(name) in self._tensors

    def __getitem__(self, name: str) -> Weight:
        return self.tensor(f"{name}.weight")

    def tensor(self, name: str) -> Weight:
        """The tensor of a name with its ending, which the file must have."""
        full = self._prefix + name
        if full not in self._tensors:
            raise GGUFError(
                f"{self._path}: tensor {full} is missing; the file is incomplete or of another architecture"
            )
        return self._tensors[full]

    def optional(self, name: str) -> Weight | None:
        """The tensor, or None where the file has none."""
        return self._tensors.get(self._full(name))

    def bias(self, name: str) -> Weight | None:
        """`bias("attn_q")` is `attn_q.bias`, or None where the file has none."""
        return self._tensors.get(f"{self._prefix}{name}.bias")

    def block(self, index: int) -> Weights:
        """The tensors of layer `index`."""
        return Weights(self._tensors, self._path, f"{self._prefix}blk.{index}.")

    def _full(self, name: str) -> str:
        return f"{self._prefix}{name}.weight"
