"""SPM (`tokenizer.ggml.model` = llama): SentencePiece's BPE, which merges the pair with the best score first.

Llama 1 and 2, Mistral, TinyLlama, Phi-3, Gemma. Text is not normalized; characters without a piece become bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyruntime.tokenizer.pieces import ModelType, Normalizer, PieceTokenizer
from pyruntime.tokenizer.vocabulary import Fields, Vocabulary


def load(vocabulary: Vocabulary, metadata: Mapping[str, Any], path: str) -> SPMTokenizer:
    """The tokenizer of a vocabulary of kind llama. BOS is added unless the metadata says otherwise."""
    return SPMTokenizer(vocabulary, Fields(metadata, path))


class SPMTokenizer(PieceTokenizer):
    """Ids equal llama.cpp's.

    A space goes before every text that begins or follows a special token, if `add_space_prefix` (the default). That
    is llama.cpp's rule; transformers (`legacy=False`) puts none after a special token.
    """

    def __init__(self, vocabulary: Vocabulary, fields: Fields) -> None:
        super().__init__(vocabulary, fields, ModelType.BPE, Normalizer(), add_bos=True)
        self._space_prefix = fields.get("add_space_prefix", bool) is not False

    def _encode_piece(self, text: str, at_start: bool) -> list[int]:
        return super()._encode_piece(" " + text if at_start and self._space_prefix else text, at_start)

    def _without_prefix(self, value: bytes) -> bytes:
        return value.removeprefix(b" ") if self._space_prefix else value
