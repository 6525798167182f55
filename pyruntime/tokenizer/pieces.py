"""What SPM and unigram vocabularies share: pieces with scores, and the `sentencepiece` library that applies them.

A GGUF file holds what a SentencePiece model holds. The model is written again from it, in protobuf's wire format
(sentencepiece_model.proto names the fields), and loaded: the ids are then those of the library that made the model.
"""

from __future__ import annotations

import functools
import itertools
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np

from pyruntime import _core
from pyruntime.errors import GGUFError, shown
from pyruntime.tokenizer.base import Tokenizer
from pyruntime.tokenizer.token_type import TokenType
from pyruntime.tokenizer.vocabulary import PREFIX, Fields, Vocabulary

SPACE = "▁"  # U+2581 stands for a space inside pieces
_BYTE_NAMES = {f"<0x{byte:02X}>": byte for byte in range(256)}


class ModelType(IntEnum):
    """`trainer_spec.model_type` of a SentencePiece model."""

    UNIGRAM = 1
    BPE = 2


@dataclass(frozen=True, slots=True)
class Normalizer:
    """`normalizer_spec` of a SentencePiece model; as it stands, text is left as it is."""

    charsmap: bytes = field(default=b"", repr=False)
    add_space_prefix: bool = False
    remove_extra_spaces: bool = False


@dataclass(frozen=True, slots=True)
class Pieces:
    """Tokens as a SentencePiece model wants them: with scores, exactly one of type UNKNOWN, and all bytes or none.

    What a vocabulary lacks stands behind its end; those ids never leave this module.
    """

    tokens: _core.Tokens
    renamed: dict[int, str]  # tokens that the library does not take
    added: list[str]
    scores: bytes  # float32, little-endian, of all
    types: bytearray  # of all
    unknown_id: int | None  # of the vocabulary: for bytes without a token; None: they are left out
    has_bytes: bool


def read_pieces(vocabulary: Vocabulary, fields: Fields) -> Pieces:
    """Read and check `tokenizer.ggml.scores` and what the library would refuse. Raises GGUFError."""
    scores = _scores(fields, len(vocabulary.tokens))
    unknown = fields.token_id("unknown", len(vocabulary.tokens))
    if unknown is None and TokenType.UNKNOWN in vocabulary.types:
        unknown = vocabulary.types.index(TokenType.UNKNOWN)
    types = _library_types(vocabulary)
    if unknown is not None:
        types[unknown] = int(TokenType.UNKNOWN)
    _mark_bytes(vocabulary, types, fields)

    unused = _unused_names(vocabulary)
    has_bytes = TokenType.BYTE in types
    # The library refuses such pieces, or leaves them out and says so on stderr.
    renamed = {i: next(unused) for i, token in enumerate(vocabulary.tokens.encoded()) if 0 in token}
    for i in renamed:
        types[i] = TokenType.CONTROL
    added = []
    if unknown is None:
        added.append(next(unused))
        types.append(TokenType.UNKNOWN)
    if has_bytes:
        missing = [name for name in _BYTE_NAMES if vocabulary.tokens.find(name) is None]
        added += missing
        types += bytes([TokenType.BYTE]) * len(missing)
    return Pieces(vocabulary.tokens, renamed, added, scores + bytes(4 * len(added)), types, unknown, has_bytes)


def _library_types(vocabulary: Vocabulary) -> bytearray:
    """Only one token can be UNKNOWN to the library; others are as unreachable for text as CONTROL is. The rest is NORMAL."""
    known = {int(kind): int(kind) for kind in TokenType} | {int(TokenType.UNKNOWN): int(TokenType.CONTROL)}
    return vocabulary.types.translate(bytes(known.get(kind, int(TokenType.NORMAL)) for kind in range(256)))


def _mark_bytes(vocabulary: Vocabulary, types: bytearray, fields: Fields) -> None:
    """Give the tokens spelled <0x00> to <0xFF> the type BYTE, which a file without types does not say."""
    byte = int(TokenType.BYTE)
    named = [i for name in _BYTE_NAMES if (i := vocabulary.tokens.find(name)) is not None]
    for i in named:
        if types[i] in (TokenType.CONTROL, TokenType.UNKNOWN):
            raise fields.error(f"tokens[{i}]", f"is the byte {vocabulary.tokens[i]} and a control or the unknown token")
        types[i] = byte
    if types.count(byte) > len(named):
        wrong = next(i for i, kind in enumerate(types) if kind == byte and vocabulary.tokens[i] not in _BYTE_NAMES)
        token = shown(vocabulary.tokens[wrong])
        raise fields.error(f"tokens[{wrong}]", f"is of type BYTE, but {token} is none of <0x00> to <0xFF>")


def _scores(fields: Fields, n_tokens: int) -> bytes:
    values = fields.array("scores", float, "floating-point numbers", n_tokens)
    if values is None:
        raise fields.error("scores", "is missing")
    with np.errstate(over="ignore"):
        scores = values.astype("<f4")
    wrong = np.flatnonzero(~np.isfinite(scores))
    if wrong.size:
        raise fields.error(f"scores[{wrong[0]}]", f"is {values[wrong[0]]}")
    return scores.tobytes()


def _unused_names(vocabulary: Vocabulary) -> Iterator[str]:
    names = (f"<unused {i}>" for i in itertools.count())
    return (name for name in names if vocabulary.tokens.find(name) is None)


def model_proto(pieces: Pieces, model_type: ModelType, normalizer: Normalizer) -> bytes:
    """The bytes of a SentencePiece model (`ModelProto`)."""
    texts = itertools.chain(pieces.tokens.encoded(), (token.encode() for token in pieces.added))
    head = functools.cache(_piece_head)
    ends = {kind: _number(3, kind) for kind in {*pieces.types}}  # SentencePiece.type
    scores = struct.iter_unpack("4s", pieces.scores)  # SentencePiece.score = 2, a fixed32
    # Joined by hand: Gemma has 262,144 of them, in 0.1 s.
    proto = bytearray()
    for i, (text, (score,), kind) in enumerate(zip(texts, scores, pieces.types, strict=True)):
        if i in pieces.renamed:
            text = pieces.renamed[i].encode()
        proto += head(len(text)) + text + b"\x15" + score + ends[kind]
    trainer = _number(3, model_type) + _number(35, pieces.has_bytes)  # model_type, byte_fallback
    settings = (
        _message(2, normalizer.charsmap)  # precompiled_charsmap
        + _number(3, normalizer.add_space_prefix)  # add_dummy_prefix
        + _number(4, normalizer.remove_extra_spaces)  # remove_extra_whitespaces
        + _number(5, True)  # escape_whitespaces
    )
    proto += _message(2, trainer) + _message(3, settings)  # ModelProto.trainer_spec, .normalizer_spec
    return bytes(proto)


def _piece_head(n_bytes: int) -> bytes:
    """What stands before the text of a piece: `ModelProto.pieces` = 1, its length, `piece` = 1, the text's length."""
    text_head = b"\x0a" + _varint(n_bytes)
    return b"\x0a" + _varint(len(text_head) + n_bytes + 7) + text_head


def _message(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class PieceTokenizer(Tokenizer):
    """A tokenizer whose ids `sentencepiece` gives. The library's model is built at the first text."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        fields: Fields,
        model_type: ModelType,
        normalizer: Normalizer,
        add_bos: bool,
    ) -> None:
        super().__init__(vocabulary, None, add_bos)
        self._pieces = read_pieces(vocabulary, fields)
        self._where = fields.where
        self._model_type = model_type
        self._normalizer = normalizer
        self._engine: Any = None

    def _encode_piece(self, text: str, at_start: bool) -> list[int]:
        if self._engine is None:
            self._engine = self._build_engine()
        ids: list[int] = self._engine.encode(text)
        if not self._pieces.added:
            return ids
        unknown = self._pieces.unknown_id
        if unknown is None:
            return [i for i in ids if i < self.n_vocab]
        return [i if i < self.n_vocab else unknown for i in ids]

    def _bytes_of(self, token: str, kind: int) -> bytes:
        if kind == TokenType.UNUSED:
            return b""
        if kind in (TokenType.CONTROL, TokenType.UNKNOWN):
            return token.encode()
        byte = _BYTE_NAMES.get(token)
        return token.replace(SPACE, " ").encode() if byte is None else bytes([byte])

    def _build_engine(self) -> Any:
        from sentencepiece import SentencePieceProcessor

        try:
            return SentencePieceProcessor(model_proto=model_proto(self._pieces, self._model_type, self._normalizer))
        except RuntimeError as error:
            reason = re.sub(r"\s+", " ", str(error))
            raise GGUFError(f"{self._where}{PREFIX}* makes no SentencePiece model: {shown(reason)}") from None
