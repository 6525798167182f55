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
    """Ids equal sentencepiece's. llama.cpp's differ where sums of scores tie or nearly do: it adds in float64.

    Every text between special tokens is normalized on its own, and gets the space prefix, wherever it stands.
    """

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
    if values is None or not values.size:
        return b""
    if values.min() < -128 or values.max() > 255:
        raise fields.error(key, "is not an array of bytes")
    data = values.astype(np.int16).astype(np.uint8).tobytes()
    size = int.from_bytes(data[:4], "little")
    # Steps stay inside blocks of 256 units: with whole blocks, to look at a unit's base is enough.
    if size % 1024 or not 0 < size < len(data) - 4:
        raise fields.error(key, f"has a table of {size} bytes in {len(data)}")
    if data[-1]:
        raise fields.error(key, "does not end with NUL")
    if not _is_sound(np.frombuffer(data, "<u4", size // 4, 4).astype(np.int64), len(data) - 4 - size):
        raise fields.error(key, "has a table that points outside itself or matches too deep")
    return data


def _is_sound(units: np.ndarray[Any, np.dtype[np.int64]], n_replacements: int) -> bool:
    """Whether no walk through the table leaves it, reaches outside the replacements, or finds too many matches."""
    nodes = np.flatnonzero(units >> 31 == 0)  # bit 31 marks a value
    unit = units[nodes]
    base = nodes ^ (unit >> 10 << (unit >> 9 & 1) * 8)  # bit 9: the offset counts blocks
    if not nodes.size or nodes[0] != 0 or np.any(base >= len(units)):
        return False
    matches = unit >> 8 & 1  # a match ends here, and its value is at the base
    if np.any(units[base[matches == 1]] & 0x7FFFFFFF >= n_replacements):
        return False
    # The most matches on a walk to a node, by its base: a child stands at base ^ label.
    parent = nodes ^ (unit & 0xFF)
    most = np.full(len(units), -1)
    most[base[0]] = 0
    for _ in range(_MAX_KEY):
        found = np.where(most[parent] >= 0, most[parent] + matches, -1)
        longer = most.copy()
        np.maximum.at(longer, base, found)
        if np.array_equal(longer, most):
            return bool(most.max() <= _MAX_MATCHES)
        most = longer
    return False


_MAX_KEY = 256  # bytes; those of NFKC have at most 13, and 4 matches
_MAX_MATCHES = 32  # the library has room for no more on its stack, and does not count
