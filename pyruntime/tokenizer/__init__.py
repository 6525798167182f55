"""Tokenizers, built from the metadata of a GGUF file and nothing else."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from pyruntime.errors import printable, shown
from pyruntime.tokenizer.base import Tokenizer
from pyruntime.tokenizer.streaming import StreamDecoder
from pyruntime.tokenizer.vocabulary import PREFIX, read_vocabulary

__all__ = ["StreamDecoder", "Tokenizer", "load_tokenizer"]

# The module of a `tokenizer.ggml.model`. It has `load(vocabulary, metadata, path) -> Tokenizer`.
_KINDS = {"gpt2": "bpe", "gemma4": "bpe", "llama": "spm", "t5": "unigram", "bert": "wordpiece"}


def load_tokenizer(metadata: Mapping[str, Any], path: str = "") -> Tokenizer:
    """Build the tokenizer that `metadata` (GGUF key to value) describes; `path` only names the file in errors.

    A tokenizer of an unknown kind still loads, because a model can be run on ids: `encode` (and `decode`, if it is
    not known how tokens become bytes) then raise UnsupportedError. A malformed vocabulary raises GGUFError.
    """
    path = printable(path)
    vocabulary = read_vocabulary(metadata, path)
    if module := _KINDS.get(vocabulary.kind):
        tokenizer: Tokenizer = importlib.import_module(f"{__name__}.{module}").load(vocabulary, metadata, path)
        return tokenizer
    where = f"{path}: " if path else ""
    known = ", ".join(map(repr, _KINDS))
    return Tokenizer(
        vocabulary,
        f"{where}tokenizer kind {shown(vocabulary.kind)} ({PREFIX}model) is not supported, only {known}; tokenize elsewhere"
        " and pass ids",
    )
