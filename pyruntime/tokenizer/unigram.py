"""Unigram (`tokenizer.ggml.model` = t5): of all ways to cut a text into pieces, the one with the best sum of scores.

T5, XLM-RoBERTa. Text is normalized first, by the table that the file brings (`precompiled_charsmap`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pyruntime.tokenizer.pieces import ModelType, Normalizer, PieceTokenizer
from pyruntime.tokenizer.vocabulary import Fields, Vocabulary


def load(vocabulary: Vocabulary, metadata: Mapping[str, Any], path: str) -> UnigramTokenizer:
    """The tokenizer of a vocabulary of kind t5. EOS is added unless the metadata says otherwise."""
    return UnigramTokenizer(vocabulary, Fields(metadata, path))


class UnigramTokenizer(PieceTokenizer):
    """Ids equal sentencepiece's. llama.cpp's differ where sums of scores tie or nearly do: it adds in float64."""

    def __init__(self, vocabulary: Vocabulary, fields: Fields) -> None:
        normalizer = Normalizer(
            charsmap=_charsmap(fields),
            add_space_prefix=bool(fields.get("add_space_prefix", bool)),
            remove_extra_spaces=bool(fields.get("remove_extra_whitespaces", bool)),
        )
        super().__init__(vocabulary, fields, ModelType.UNIGRAM, normalizer, add_bos=False)
        self.add_eos = self.eos_id is not None and fields.get("add_eos_token", bool) is not False
        self._space_prefix = normalizer.add_space_prefix

    def _without_prefix(self, value: bytes) -> bytes:
        return value.removeprefix(b" ") if self._space_prefix else value


def _charsmap(fields: Fields) -> bytes:
    """`precompiled_charsmap`, checked: the library walks its table without looking where it steps.

    The format: the table's bytes as uint32, the table (a double array of Darts-clone), replacements that end with NUL.
    """
    key = "precompiled_charsmap"
    values = fields.array(key, int, "bytes")
    if not values:
        return b""
    if min(values) < -128 or max(values) > 255:
        raise fields.error(key, "is not an array of bytes")
    data = np.array(values, np.int16).astype(np.uint8).tobytes()
    size = int.from_bytes(data[:4], "little")
    # Steps stay inside blocks of 256 units: with whole blocks, to look at a unit's base is enough.
    if size % 1024 or not 0 < size < len(data) - 4:
        raise fields.error(key, f"has a table of {size} bytes and is of {len(data)}")
    if data[-1]:
        raise fields.error(key, "does not end with NUL")
    if not _is_sound(np.frombuffer(data, "<u4", size // 4, 4).astype(np.int64), len(data) - 4 - size):
        raise fields.error(key, "points outside itself")
    return data


def _is_sound(units: np.ndarray[Any, np.dtype[np.int64]], n_replacements: int) -> bool:
    """Whether no walk through the table leaves it, and no value the replacements. Bit 31 marks a value."""
    nodes = np.flatnonzero(units >> 31 == 0)
    node = units[nodes]
    base = nodes ^ (node >> 10 << (node >> 9 & 1) * 8)  # bit 9: the offset is in blocks
    if np.any(base >= len(units)):
        return False
    values = units[base[node >> 8 & 1 == 1]] & 0x7FFFFFFF  # bit 8: a match ends here
    return bool(np.all(values < n_replacements))
