"""BPE over bytes, and over pieces with U+2581 for a space. The merging is the `tokenizers` library's."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

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
        self._engine: Any = None
        self._complete = True  # every byte has a token

    def _bytes_of(self, token: str, kind: int) -> bytes:
        if kind == TokenType.NORMAL and all(char in _BYTE_OF for char in token):
            return bytes(_BYTE_OF[char] for char in token)
        return _bytes_of_any(token, kind)

    def _encode_piece(self, text: str, at_start: bool) -> list[int]:
        if self._engine is None:
            self._engine = self._build_engine()
        try:
            ids: list[int] = self._engine.encode(text, add_special_tokens=False).ids
        except BaseException as error:  # the library's panic is no Exception
            if type(error).__name__ != "PanicException":
                raise
            raise UnsupportedError(
                f"a text of {len(text)} characters is beyond what the regular expressions of its splitting rule can take"
            ) from None
        return ids if self._complete else [i for i in ids if i < self.n_vocab]

    def _build_engine(self) -> Any:
        """The library's tokenizer. Built at the first text, as a large vocabulary takes a third of a second."""
        from tokenizers import Regex, models, normalizers, pre_tokenizers
        from tokenizers import Tokenizer as Engine

        vocab = {token: i for token, i in self._vocabulary.ids.items() if token not in self.special_tokens}
        # A byte without a token still stands between its neighbours: it gets an id that `_encode_piece` drops.
        missing = [token for token in self._byte_tokens if token not in vocab]
        vocab.update((token, self.n_vocab + i) for i, token in enumerate(missing))
        self._complete = not missing
        rule = self._rule
        engine = Engine(
            models.BPE(
                vocab=vocab,
                merges=self._vocabulary.merges,
                ignore_merges=rule.ignore_merges,
                byte_fallback=rule.pieces,
            )
        )
        if rule.nfc:
            engine.normalizer = normalizers.NFC()
        steps: list[Any] = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in rule.patterns]
        if not rule.pieces:
            steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
        engine.pre_tokenizer = pre_tokenizers.Sequence(steps)
        return engine


class CharacterBPETokenizer(BPETokenizer):
    """BPE over characters, with U+2581 for a space and <0x00> to <0xFF> for characters without a token (Gemma 4)."""

    def __init__(self, vocabulary: Vocabulary, rule: PreTokenizer, obstacle: str | None = None) -> None:
        super().__init__(vocabulary, rule, obstacle)
        self._byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
        self._newlines: re.Pattern[str] | None = None  # runs of newlines that are tokens, but that no merges make

    def _bytes_of(self, token: str, kind: int) -> bytes:
        if kind == TokenType.NORMAL:
            return token.replace(_SPACE, " ").encode()
        return _bytes_of_any(token, kind)

    def _encode_piece(self, text: str, at_start: bool) -> list[int]:
        text = text.replace(" ", _SPACE)
        if self._engine is None:
            super()._encode_piece("", at_start)  # builds the engine
            self._newlines = self._unmade_newlines()
        if self._newlines is None:
            return super()._encode_piece(text, at_start)
        ids: list[int] = []
        for i, part in enumerate(self._newlines.split(text)):
            ids += [self._vocabulary.ids[part]] if i % 2 else super()._encode_piece(part, at_start)
        return ids

    def _unmade_newlines(self) -> re.Pattern[str] | None:
        runs = [token for token in self._vocabulary.ids if not token.strip("\n") and token not in self.special_tokens]
        unmade = [
            run for run in runs if super(CharacterBPETokenizer, self)._encode_piece(run, False) != [self.id_of(run)]
        ]
        if not unmade:
            return None
        return re.compile("(?<!\n)(" + "|".join(f"\n{{{len(run)}}}" for run in unmade) + ")(?!\n)")


def _bytes_of_any(token: str, kind: int) -> bytes:
    """Of a special token, of a byte by its number, and of what an older conversion left outside the alphabet."""
    if kind in (TokenType.UNUSED, TokenType.UNDEFINED):
        return b""
    if kind == TokenType.BYTE and _BYTE_TOKEN.fullmatch(token):
        return bytes([int(token[3:5], 16)])
    return token.encode()
