"""WordPiece (`tokenizer.ggml.model` = bert): words cut from the left into the longest tokens. The `tokenizers` library cuts.

GGUF spells a token that begins a word with U+2581 before it, and leaves out BERT's ## of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyruntime.tokenizer.base import Tokenizer
from pyruntime.tokenizer.token_type import TokenType
from pyruntime.tokenizer.vocabulary import Fields, Vocabulary

_WORD = "▁"
_MAX_CHARS = 100  # a longer word is unknown: BERT's `max_input_chars_per_word`
_CLEANED = frozenset((".", "?", "!", ","))  # written without the space before, as transformers does


def load(vocabulary: Vocabulary, metadata: Mapping[str, Any], path: str) -> WordPieceTokenizer:
    """The tokenizer of a vocabulary of kind bert. CLS and SEP are always added, as llama.cpp does."""
    return WordPieceTokenizer(vocabulary, Fields(metadata, path))


class WordPieceTokenizer(Tokenizer):
    """Ids equal transformers' BertTokenizer. llama.cpp knows fewer decompositions (Hangul) and no limit of a word's length."""

    def __init__(self, vocabulary: Vocabulary, fields: Fields) -> None:
        super().__init__(vocabulary, None, add_bos=True)
        self._unknown = _special(vocabulary, fields, "[UNK]", "unknown")
        self._cls = _special(vocabulary, fields, "[CLS]", "bos", "cls")
        self._sep = _special(vocabulary, fields, "[SEP]", "seperator")  # GGUF's spelling
        self.bos_id = self._cls
        self.add_bos = True
        self._lowercase = fields.get("normalizer.lowercase", bool) is not False
        strip = fields.get("normalizer.strip_accents", bool)
        self._strip_accents = self._lowercase if strip is None else bool(strip)
        self._engine: Any = None

    def _with_special(self, ids: list[int]) -> list[int]:
        return [self._cls, *ids, self._sep]

    def _encode_piece(self, text: str, at_start: bool) -> list[int]:
        if self._engine is None:
            self._engine = self._build_engine()
        # The batch form without offsets takes half the time.
        ids: list[int] = self._engine.encode_batch_fast([text])[0].ids
        return ids

    def _bytes_of(self, token: str, kind: int) -> bytes:
        if kind in (TokenType.CONTROL, TokenType.UNKNOWN, TokenType.USER_DEFINED):
            return token.removeprefix(_WORD).encode()
        if kind == TokenType.UNUSED:
            return b""
        word = token.removeprefix(_WORD)
        return (word if word == token or word in _CLEANED else " " + word).encode()

    def _without_prefix(self, value: bytes) -> bytes:
        return value.removeprefix(b" ")

    def _build_engine(self) -> Any:
        from tokenizers import Tokenizer as Engine
        from tokenizers import models, normalizers, pre_tokenizers

        continuations, words = {}, {}
        for i, (text, kind) in enumerate(zip(self._vocabulary.tokens.encoded(), self._vocabulary.types, strict=True)):
            token = text.decode()
            if kind not in (TokenType.CONTROL, TokenType.UNKNOWN, TokenType.USER_DEFINED):
                word = token.removeprefix(_WORD)
                if word == token:
                    continuations["##" + word] = i
                else:
                    words[word] = i
        # No text becomes a word that starts with ## or is [UNK]: words are split at punctuation first.
        vocab = words | continuations | {"[UNK]": self._unknown}
        engine = Engine(models.WordPiece(vocab=vocab, unk_token="[UNK]", max_input_chars_per_word=_MAX_CHARS))
        engine.normalizer = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=True,
            strip_accents=self._strip_accents,
            lowercase=self._lowercase,
        )
        engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return engine


def _special(vocabulary: Vocabulary, fields: Fields, token: str, *names: str) -> int:
    """The id that the metadata gives under one of `names`, or the token's own."""
    found = [fields.token_id(name, len(vocabulary.tokens)) for name in names] + [vocabulary.tokens.find(token)]
    known = next((i for i in found if i is not None), None)
    if known is None:
        raise fields.error(f"{names[0]}_token_id", f"is missing, and there is no token {token}")
    return known
