"""BPE over bytes, and over pieces with U+2581 for a space.

Words are found by the `tokenizers` library's regular expressions, and merged by the core: the library's own tables of 150,000
merges would take a third of a second and 40 MB, before the first token of an answer.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

from pyruntime import _core
from pyruntime.errors import UnsupportedError, shown
from pyruntime.tokenizer.base import Tokenizer
from pyruntime.tokenizer.pretokenizers import RULES, PreTokenizer
from pyruntime.tokenizer.token_type import TokenType
from pyruntime.tokenizer.vocabulary import PREFIX, Vocabulary


def load(vocabulary: Vocabulary, metadata: Mapping[str, Any], path: str) -> Tokenizer:
    """The tokenizer of a vocabulary of kind gpt2 or gemma4, by the splitting rule that the metadata names."""
    where = f"{path}: " if path else ""
    name = "gemma4" if vocabulary.kind == "gemma4" else metadata.get(PREFIX + "pre")
    if name is None:
        warnings.warn(
            f"{where}{PREFIX}pre is missing: text is split by the 'default' rule, which may give ids that the model"
            " was not trained on; convert the model again to record its rule",
            stacklevel=3,
        )
        name = "default"
    rule = RULES.get(name) if isinstance(name, str) else None
    if rule is not None:
        return (CharacterBPETokenizer if rule.pieces else BPETokenizer)(vocabulary, rule)
    obstacle = (
        f"{where}pre-tokenizer {shown(name)} ({PREFIX}pre) is not supported; tokenize elsewhere and pass ids, or add its"
        " rule to pyruntime/tokenizer/pretokenizers.py"
    )
    return BPETokenizer(vocabulary, RULES["default"], obstacle)


def _byte_alphabet() -> list[str]:
    """The character that stands for each byte (GPT-2): itself if it is visible Latin-1, else U+0100 and up."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = iter(range(0x100, 0x200))
    return [chr(byte if byte in visible else next(hidden)) for byte in range(256)]


_ALPHABET = _byte_alphabet()
_BYTE_OF = {char: byte for byte, char in enumerate(_ALPHABET)}
_BYTE_TOKEN = re.compile("<0x[0-9A-Fa-f]{2}>")
_SPACE = "\u2581"  # lower one eighth block


class BPETokenizer(Tokenizer):
    """Byte-level BPE. Bytes for which a vocabulary has no token (rare: some control characters) are left out."""

    def __init__(self, vocabulary: Vocabulary, rule: PreTokenizer, obstacle: str | None = None) -> None:
        super().__init__(vocabulary, obstacle, rule.add_bos)
        self.add_bos |= rule.force_bos and vocabulary.bos_id is not None
        self._rule = rule
        self._byte_tokens = _ALPHABET
        self._bpe: _core.BPE | None = None
        self._words: Any = None  # the library's side
        self._compose: Any = None

    def _bytes_of(self, token: str, kind: int) -> bytes:
        if kind == TokenType.NORMAL and all(char in _BYTE_OF for char in token):
            return bytes(_BYTE_OF[char] for char in token)
        return _bytes_of_any(token, kind)

    def _encode_piece(self, text: str, at_start: bool) -> list[int]:
        if self._bpe is None:
            self._prepare()
        try:
            words = self._words(text if self._compose is None else self._compose(text))
        except BaseException as error:  # the library's panic is no Exception
            if type(error).__name__ != "PanicException":
                raise
            raise UnsupportedError(
                f"a text of {len(text)} characters is beyond what the regular expressions of its splitting rule can take"
            ) from None
        assert self._bpe is not None
        return self._bpe.encode(words)

    def _prepare(self) -> None:
        """At the first text: whoever passes ids does without."""
        from tokenizers import Regex, normalizers, pre_tokenizers

        vocabulary, rule = self._vocabulary, self._rule
        assert vocabulary.merges is not None
        steps: list[Any] = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in rule.patterns]
        self._words = pre_tokenizers.Sequence(steps).pre_tokenize_str
        self._compose = normalizers.NFC().normalize_str if rule.nfc else None
        self._bpe = _core.BPE(
            vocabulary.tokens,
            vocabulary.merges,
            control=list(self.special_tokens.values()),
            bytes=self._byte_tokens,
            pieces=rule.pieces,
            whole_words=rule.ignore_merges,
        )


class CharacterBPETokenizer(BPETokenizer):
    """BPE over characters, with U+2581 for a space and <0x00> to <0xFF> for characters without a token (Gemma 4)."""

    def __init__(self, vocabulary: Vocabulary, rule: PreTokenizer, obstacle: str | None = None) -> None:
        super().__init__(vocabulary, rule, obstacle)
        self._byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
        self._newlines: dict[str, int] = {}  # runs of newlines that are tokens, but that no merges make
        self._at_newlines: re.Pattern[str] | None = None

    def _bytes_of(self, token: str, kind: int) -> bytes:
        if kind == TokenType.NORMAL:
            return token.replace(_SPACE, " ").encode()
        return _bytes_of_any(token, kind)

    def _encode_piece(self, text: str, at_start: bool) -> list[int]:
        if self._bpe is None:
            self._prepare()
        text = text.replace(" ", _SPACE)
        if self._at_newlines is None:
            return super()._encode_piece(text, at_start)
        ids: list[int] = []
        for i, part in enumerate(self._at_newlines.split(text)):
            ids += [self._newlines[part]] if i % 2 else super()._encode_piece(part, at_start)
        return ids

    def _prepare(self) -> None:
        super()._prepare()
        tokens, control = self._vocabulary.tokens, {*self.special_tokens.values()}
        runs = [i for i, token in enumerate(tokens.encoded()) if not token.strip(b"\n") and i not in control]
        made = super()._encode_piece
        self._newlines = {tokens[i]: i for i in runs if made(tokens[i], False) != [i]}
        if self._newlines:
            lengths = "|".join(f"\n{{{len(run)}}}" for run in self._newlines)
            self._at_newlines = re.compile(f"(?<!\n)({lengths})(?!\n)")


def _bytes_of_any(token: str, kind: int) -> bytes:
    """Of a special token, of a byte by its number, and of what an older conversion left outside the alphabet."""
    if kind in (TokenType.UNUSED, TokenType.UNDEFINED):
        return b""
    if kind == TokenType.BYTE and _BYTE_TOKEN.fullmatch(token):
        return bytes([int(token[3:5], 16)])
    return token.encode()
