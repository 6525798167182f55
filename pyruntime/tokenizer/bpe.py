"""Byte-level BPE: special tokens are found here, the merging is the `tokenizers` library's."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from pyruntime.errors import UnsupportedError
from pyruntime.tokenizer.pretokenizers import PreTokenizer
from pyruntime.tokenizer.streaming import StreamDecoder
from pyruntime.tokenizer.vocabulary import TokenType, Vocabulary

_CONTROL = frozenset((int(TokenType.CONTROL), int(TokenType.UNKNOWN)))


def _byte_alphabet() -> list[str]:
    """The character that stands for each byte (GPT-2): itself if it is visible Latin-1, else U+0100 and up."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = iter(range(0x100, 0x200))
    return [chr(byte if byte in visible else next(hidden)) for byte in range(256)]


_ALPHABET = _byte_alphabet()
_BYTE_OF = {char: byte for byte, char in enumerate(_ALPHABET)}


class Tokenizer:
    """Text to ids and back. Made by `load_tokenizer`; safe to share between threads.

    Ids equal llama.cpp's, with one exception: plain text never becomes a control token, even if the file's merges
    would make one. Bytes for which a vocabulary has no token (rare: some control characters) are left out, as there.
    """

    def __init__(self, vocabulary: Vocabulary, rule: PreTokenizer | None, obstacle: str | None = None) -> None:
        self._vocabulary = vocabulary
        self._rule = rule
        self._obstacle = obstacle
        self._engine: Any = None
        self._complete = True  # every byte has a token
        self._bytes: list[bytes | None] = [None] * len(vocabulary.tokens)

        add_bos = vocabulary.add_bos if vocabulary.add_bos is not None else rule is not None and rule.add_bos
        self.add_bos: bool = add_bos and vocabulary.bos_id is not None
        self.add_eos: bool = vocabulary.add_eos
        self.bos_id: int | None = vocabulary.bos_id
        self.eos_id: int | None = vocabulary.eos_id
        self.end_ids: frozenset[int] = vocabulary.end_ids
        self.n_vocab: int = len(vocabulary.tokens)

        tokens, types = vocabulary.tokens, vocabulary.types
        control = [i for i, kind in enumerate(types) if kind in _CONTROL]
        user_defined = [i for i, kind in enumerate(types) if kind == TokenType.USER_DEFINED]
        # Tokens that only parse_special finds: CONTROL, and UNKNOWN, which must be as hard to forge.
        self.special_tokens: dict[str, int] = {tokens[i]: i for i in control}
        self._user_defined = self._longest_first(user_defined)
        self._all_special = self._longest_first(user_defined + control)

    def _longest_first(self, ids: list[int]) -> list[tuple[str, int]]:
        tokens = self._vocabulary.tokens
        return [(tokens[i], i) for i in sorted(ids, key=lambda i: (-len(tokens[i].encode()), i))]

    def token(self, token_id: int) -> str:
        """The token as the vocabulary spells it. ValueError for an id outside the vocabulary."""
        return self._vocabulary.tokens[self._checked(token_id)]

    def id_of(self, token: str) -> int | None:
        """The id of a token given as the vocabulary spells it, or None."""
        return self._vocabulary.ids.get(token)

    def encode(self, text: str, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """The ids of `text`.

        `add_special` adds BOS and EOS where the model wants them. `parse_special` lets spellings of control tokens in
        the text become those tokens; leave it off for text that you did not write. User-defined tokens are always
        parsed. Raises TypeError, ValueError (a lone surrogate) and UnsupportedError (an unknown tokenizer).
        """
        ids = self._encode(text, self._all_special if parse_special else self._user_defined)
        if add_special and self.add_bos and self.bos_id is not None:
            ids.insert(0, self.bos_id)
        if add_special and self.add_eos and self.eos_id is not None:
            ids.append(self.eos_id)
        return ids

    def encode_with_mark(self, text: str, mark: str) -> list[int]:
        """The ids of `text` without its marks, where a special token with a mark in it is only text.

        Marks leave no trace but that: the text between two control tokens is one piece whatever marks were in it.
        BOS and EOS are not added. Errors are those of `encode`.
        """
        ids: list[int] = []
        for piece in self._split(self._checked_text(text), self._all_special, mark):
            # User-defined tokens that only the marks hid are still parsed.
            ids += [piece] if isinstance(piece, int) else self._encode(piece.replace(mark, ""), self._user_defined)
        return ids

    def decode(self, ids: Iterable[int], skip_special: bool = False) -> str:
        """The text of `ids`; bytes that are not UTF-8 become U+FFFD. Errors are those of `decode_bytes`."""
        return self.decode_bytes(ids, skip_special).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int], skip_special: bool = False) -> bytes:
        """The bytes of `ids`, without control tokens if `skip_special`.

        Raises ValueError for an id outside the vocabulary, UnsupportedError if the tokens are not byte-level.
        """
        if not self._vocabulary.byte_level:
            raise UnsupportedError(self._obstacle)
        types = self._vocabulary.types
        known = self._bytes
        parts = []
        for token_id in ids:
            i = self._checked(token_id)
            if not (skip_special and types[i] in _CONTROL):
                parts.append(known[i] or self._decode_token(i))
        return b"".join(parts)

    def stream_decoder(self, skip_special: bool = True) -> StreamDecoder:
        """A decoder that takes ids one at a time."""
        return StreamDecoder(self, skip_special)

    def _checked(self, token_id: int) -> int:
        i = operator.index(token_id)
        if not 0 <= i < self.n_vocab:
            raise ValueError(f"token id {i} is outside the vocabulary (0 to {self.n_vocab - 1})")
        return i

    def _checked_text(self, text: str) -> str:
        if not isinstance(text, str):
            raise TypeError(f"text must be str, not {type(text).__name__}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"text has a lone surrogate at position {error.start}, which UTF-8 cannot hold") from None
        return text

    def _decode_token(self, i: int) -> bytes:
        token, kind = self._vocabulary.tokens[i], self._vocabulary.types[i]
        if kind == TokenType.UNUSED:
            value = b""
        elif kind == TokenType.NORMAL and all(char in _BYTE_OF for char in token):
            value = bytes(_BYTE_OF[char] for char in token)
        else:
            value = token.encode()  # special tokens, and what an older conversion left outside the alphabet
        self._bytes[i] = value
        return value

    def _encode(self, text: str, special: list[tuple[str, int]]) -> list[int]:
        ids: list[int] = []
        for piece in self._split(self._checked_text(text), special):
            ids += [piece] if isinstance(piece, int) else self._merge(piece)
        return ids

    def _split(self, text: str, special: list[tuple[str, int]], mark: str = "") -> list[str | int]:
        """Text and special tokens in turn. Longer tokens take their place first, wherever they stand."""
        taken = bytearray(len(text))
        found = []
        for token, token_id in special:
            start = text.find(token)
            while start >= 0:
                end = start + len(token)
                # No mark fits into a token of one character: there, one stands on either side.
                forged = mark and len(token) == 1 and text.startswith(mark, end) and text.endswith(mark, 0, start)
                if forged or taken.find(1, start, end) >= 0:
                    start = text.find(token, start + 1)
                    continue
                taken[start:end] = b"\x01" * len(token)
                found.append((start, end, token_id))
                start = text.find(token, end)
        pieces: list[str | int] = []
        done = 0
        for start, end, token_id in sorted(found):
            if done < start:
                pieces.append(text[done:start])
            pieces.append(token_id)
            done = end
        if done < len(text):
            pieces.append(text[done:])
        return pieces

    def _merge(self, text: str) -> list[int]:
        if self._engine is None:
            self._engine = self._build_engine()
        ids: list[int] = self._engine.encode(text, add_special_tokens=False).ids
        return ids if self._complete else [i for i in ids if i < self.n_vocab]

    def _build_engine(self) -> Any:
        """The library's tokenizer. Built at the first text, as a large vocabulary takes a third of a second."""
        if self._rule is None:
            raise UnsupportedError(self._obstacle)
        from tokenizers import Regex, models, pre_tokenizers
        from tokenizers import Tokenizer as Engine

        vocab = {token: i for token, i in self._vocabulary.ids.items() if token not in self.special_tokens}
        # A byte without a token still stands between its neighbours: it gets an id that `_merge` drops.
        missing = [char for char in _ALPHABET if char not in vocab]
        vocab.update((char, self.n_vocab + i) for i, char in enumerate(missing))
        self._complete = not missing
        rule = self._rule
        engine = Engine(models.BPE(vocab=vocab, merges=self._vocabulary.merges, ignore_merges=rule.ignore_merges))
        engine.pre_tokenizer = pre_tokenizers.Sequence(
            [
                *(pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in rule.patterns),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        return engine
