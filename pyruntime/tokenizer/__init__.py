"""Tokenizers, built from the metadata of a GGUF file and nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from pyruntime.tokenizer.bpe import Tokenizer
from pyruntime.tokenizer.pretokenizers import RULES, PreTokenizer
from pyruntime.tokenizer.streaming import StreamDecoder
from pyruntime.tokenizer.vocabulary import PREFIX, Vocabulary, read_vocabulary

__all__ = ["StreamDecoder", "Tokenizer", "load_tokenizer"]


def load_tokenizer(metadata: Mapping[str, Any], path: str = "") -> Tokenizer:
    """Build the tokenizer that `metadata` (GGUF key to value) describes; `path` only names the file in errors.

    A tokenizer of an unknown kind still loads, because a model can be run on ids: `encode` (and `decode`, if the
    tokens are not byte-level) then raise UnsupportedError. A malformed vocabulary raises GGUFError.
    """
    vocabulary = read_vocabulary(metadata, path)
    rule, obstacle = _pre_tokenizer(metadata, vocabulary, path)
    return Tokenizer(vocabulary, rule, obstacle)


def _pre_tokenizer(
    metadata: Mapping[str, Any], vocabulary: Vocabulary, path: str
) -> tuple[PreTokenizer | None, str | None]:
    """The splitting rule, or None and what stands in the way of encoding."""
    where = f"{path}: " if path else ""
    if not vocabulary.byte_level:
        return None, (
            f"{where}tokenizer kind {vocabulary.kind!r} ({PREFIX}model) is not supported, only byte-level BPE ('gpt2')"
            " is; tokenize elsewhere and pass ids"
        )
    name = metadata.get(PREFIX + "pre")
    if name is None:
        warnings.warn(
            f"{where}{PREFIX}pre is missing: text is split by the 'default' rule, which may give ids that the model"
            " was not trained on; convert the model again to record its rule",
            stacklevel=3,
        )
        name = "default"
    rule = RULES.get(name) if isinstance(name, str) else None
    if rule is not None:
        return rule, None
    return None, (
        f"{where}pre-tokenizer {name!r} ({PREFIX}pre) is not supported; tokenize elsewhere and pass ids, or add its"
        " rule to pyruntime/tokenizer/pretokenizers.py"
    )
