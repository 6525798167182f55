"""What all kinds of tokenizers share: special tokens, BOS and EOS, decoding whole and as it comes."""

from __future__ import annotations

import operator
from collections.abc import Iterable

from pyruntime.errors import UnsupportedError
from pyruntime.tokenizer.streaming import StreamDecoder
from pyruntime.tokenizer.token_type import TokenType
from pyruntime.tokenizer.vocabulary import Vocabulary

_CONTROL = frozenset((int(TokenType.CONTROL), int(TokenType.UNKNOWN)))
_HEAD = 4  # characters of a special token that are looked for first: most texts hold none of a thousand <unused123>
_C_SPACES = " \t\n\v\f\r"


class Tokenizer:
    """Text to ids and back. Made by `load_tokenizer` or `Tokenizer.from_gguf`; safe to share between threads.

    Plain text never becomes a control token. A kind of tokenizer is a subclass with `_encode_piece`, `_bytes_of` and,
    where it writes a space that is not in the text, `_without_prefix`. This class alone is a tokenizer of an unknown
    kind: it knows the tokens by name and id, and refuses to encode and to decode, with `obstacle` as the reason.
    """

    def __init__(self, vocabulary: Vocabulary, obstacle: str | None = None, add_bos: bool = False) -> None:
        """`obstacle` is why text cannot be encoded; `add_bos` holds where the metadata does not say."""
        self._vocabulary = vocabulary
        self._obstacle = obstacle
        self._bytes: dict[int, bytes] = {}  # of the tokens that were decoded

        add_bos = vocabulary.add_bos if vocabulary.add_bos is not None else add_bos
        self.add_bos: bool = add_bos and vocabulary.bos_id is not None
        self.add_eos: bool = vocabulary.add_eos
        self.bos_id: int | None = vocabulary.bos_id
        self.eos_id: int | None = vocabulary.eos_id
        self.end_ids: frozenset[int] = vocabulary.end_ids
        self.n_vocab: int = len(vocabulary.tokens)

        control = vocabulary.of_types(*_CONTROL)
        user_defined = vocabulary.of_types(TokenType.USER_DEFINED)
        # Tokens that only parse_special finds: CONTROL, and UNKNOWN, which must be as hard to forge.
        self.special_tokens: dict[str, int] = {vocabulary.tokens[i]: i for i in control}
        self._user_defined = self._longest_first(user_defined)
        self._all_special = self._longest_first(user_defined + control)

    @staticmethod
    def from_gguf(path: str) -> Tokenizer:
        """The tokenizer of a GGUF file, which may be a vocabulary without tensors. Raises what `load_tokenizer` does."""
        from pyruntime import _core
        from pyruntime.tokenizer import load_tokenizer

        return load_tokenizer(_core.GGUF(str(path)).header, str(path))

    # The hooks of a kind.

    def _encode_piece(self, text: str, at_start: bool) -> list[int]:
        """The ids of a text without special tokens. `at_start`: nothing, or a special token, stands before it."""
        raise NotImplementedError

    def _bytes_of(self, token: str, kind: int) -> bytes:
        """What a token of type `kind` (a TokenType, or a number that the file made up) decodes to; asked once a token."""
        raise UnsupportedError(self._obstacle)

    def _without_prefix(self, value: bytes) -> bytes:
        """The bytes of the first token of a text, without what `_encode_piece` put before it."""
        return value

    # What is the same in all kinds.

    def token(self, token_id: int) -> str:
        """The token as the vocabulary spells it. ValueError for an id outside the vocabulary."""
        return self._vocabulary.tokens[self._checked(token_id)]

    def id_of(self, token: str) -> int | None:
        """The id of a token given as the vocabulary spells it, or None."""
        return self._vocabulary.tokens.find(token)

    def encode(
        self, text: str, add_special: bool = True, parse_special: bool = False, at_start: bool = True
    ) -> list[int]:
        """The ids of `text`.

        `add_special` adds BOS and EOS where the model wants them. `parse_special` lets spellings of control tokens in
        the text become those tokens; leave it off for text that you did not write. User-defined tokens are always
        parsed. `at_start` says that a text begins here. Raises TypeError, ValueError (a lone surrogate) and
        UnsupportedError (an unknown tokenizer).
        """
        special = self._all_special if parse_special else self._user_defined
        ids = self._encode(self._checked_text(text), special, at_start)
        return self._with_special(ids) if add_special else ids

    def encode_with_mark(self, text: str, mark: str) -> list[int]:
        """The ids of `text` without its marks, where a special token with a mark in it is only text.

        Marks leave no trace but that: the text between two control tokens is one piece whatever marks were in it.
        BOS and EOS are not added. Errors are those of `encode`.
        """
        ids: list[int] = []
        at_start = True
        for piece in self._split(self._checked_text(text), self._all_special, mark):
            if isinstance(piece, int):
                ids.append(piece)
            elif plain := piece.replace(mark, ""):
                # User-defined tokens that only the marks hid are still parsed.
                ids += self._encode(plain, self._user_defined, at_start)
            at_start = isinstance(piece, int)
        return ids

    def decode(self, ids: Iterable[int], skip_special: bool = False, at_start: bool = True) -> str:
        """The text of `ids`; bytes that are not UTF-8 become U+FFFD. Arguments and errors are those of `decode_bytes`."""
        return self.decode_bytes(ids, skip_special, at_start).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int], skip_special: bool = False, at_start: bool = True) -> bytes:
        """The bytes of `ids`, without control tokens if `skip_special`.

        `at_start` says that a text begins here: the space that some kinds of tokenizers write before a text is left out.
        Raises ValueError for an id outside the vocabulary, UnsupportedError if the tokens' kind is unknown.
        """
        parts = []
        for token_id in ids:
            value, at_start = self._decode_token(token_id, skip_special, at_start)
            parts.append(value)
        return b"".join(parts)

    def stream_decoder(self, skip_special: bool = True, at_start: bool = True) -> StreamDecoder:
        """A decoder that takes ids one at a time; `at_start` as for `decode_bytes`."""
        return StreamDecoder(self._decode_token, skip_special, at_start)

    def _with_special(self, ids: list[int]) -> list[int]:
        if self.add_bos and self.bos_id is not None:
            ids.insert(0, self.bos_id)
        if self.add_eos and self.eos_id is not None:
            ids.append(self.eos_id)
        return ids

    def _decode_token(self, token_id: int, skip_special: bool, at_start: bool) -> tuple[bytes, bool]:
        """The bytes of a token, and whether a token after it is still the first of the text."""
        i = self._checked(token_id)
        kind = self._vocabulary.types[i]
        value = self._bytes.get(i)
        if value is None:
            value = self._bytes[i] = self._bytes_of(self._vocabulary.tokens[i], kind)
        if kind in _CONTROL:
            return b"" if skip_special else value, at_start
        # The prefix is put before text, never before a user-defined token, whose spaces are its own.
        return self._without_prefix(value) if at_start and kind != TokenType.USER_DEFINED else value, False

    def _longest_first(self, ids: list[int]) -> list[tuple[str, int]]:
        tokens = self._vocabulary.tokens
        return [(tokens[i], i) for i in sorted(ids, key=lambda i: (-len(tokens[i].encode()), i))]

    def _checked(self, token_id: int) -> int:
        i = operator.index(token_id)
        if not 0 <= i < self.n_vocab:
            raise ValueError(f"token id {i} is outside the vocabulary (0 to {self.n_vocab - 1})")
        return i

    def _checked_text(self, text: str) -> str:
        if not isinstance(text, str):
            raise TypeError(f"text must be str, not {type(text).__name__}")
        if self._obstacle is not None:
            raise UnsupportedError(self._obstacle)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"text has a lone surrogate at position {error.start}, which UTF-8 cannot hold") from None
        return text

    def _encode(self, text: str, special: list[tuple[str, int]], at_start: bool = True) -> list[int]:
        ids: list[int] = []
        for piece in self._split(text, special):
            ids += [piece] if isinstance(piece, int) else self._encode_piece(piece, at_start)
            at_start = isinstance(piece, int)
        return ids

    def _split(self, text: str, special: list[tuple[str, int]], mark: str = "") -> list[str | int]:
        """Text and special tokens in turn. Longer tokens take their place first, wherever they stand."""
        heads = {head for head in {token[:_HEAD] for token, _ in special} if head in text}
        taken = bytearray(len(text))
        found: list[tuple[int, int, int]] = []
        for token, token_id in special:
            if token[:_HEAD] in heads:
                found += self._take(text, token, token_id, taken, mark)
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

    def _take(self, text: str, token: str, token_id: int, taken: bytearray, mark: str) -> list[tuple[int, int, int]]:
        """Where a token stands in what is not `taken` yet, with the white space that it swallows; takes it."""
        lstrip, rstrip = self._vocabulary.strips.get(token_id, (False, False))
        found = []
        start = text.find(token)
        while start >= 0:
            end = start + len(token)
            # No mark fits into a token of one character: there, one stands on either side.
            if mark and len(token) == 1 and text.startswith(mark, end) and text.endswith(mark, 0, start):
                start = text.find(token, start + 1)
                continue
            if (blocked := taken.rfind(1, start, end)) >= 0:
                free = taken.find(0, blocked)
                start = text.find(token, free) if free >= 0 else -1
                continue
            while lstrip and start > 0 and not taken[start - 1] and text[start - 1] in _C_SPACES + mark:
                start -= 1
            while rstrip and end < len(text) and not taken[end] and text[end] in _C_SPACES + mark:
                end += 1
            taken[start:end] = b"\x01" * (end - start)
            found.append((start, end, token_id))
            start = text.find(token, end)
        return found
