"""Byte-level BPE: the merging is the `tokenizers` library's."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from pyruntime.tokenizer.base import Tokenizer
from pyruntime.tokenizer.pretokenizers import RULES, PreTokenizer
from pyruntime.tokenizer.vocabulary import PREFIX, TokenType, Vocabulary


def load(vocabulary: Vocabulary, metadata: Mapping[str, Any], path: str) -> Tokenizer:
    """The tokenizer of a vocabulary of kind gpt2, by the splitting rule that the metadata names."""
    where = f"{path}: " if path else ""
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
        return BPETokenizer(vocabulary, rule)
    obstacle = (
        f"{where}pre-tokenizer {name!r} ({PREFIX}pre) is not supported; tokenize elsewhere and pass ids, or add its"
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


class BPETokenizer(Tokenizer):
    """Ids equal llama.cpp's, with one exception: plain text never becomes a control token, even if the file's merges
    would make one. Bytes for which a vocabulary has no token (rare: some control characters) are left out, as there.
    """

    def __init__(self, vocabulary: Vocabulary, rule: PreTokenizer, obstacle: str | None = None) -> None:
        super().__init__(vocabulary, obstacle, rule.add_bos)
        self._rule = rule
        self._engine: Any = None
        self._complete = True  # every byte has a token

    def _bytes_of(self, token: str, kind: int) -> bytes:
        if kind == TokenType.UNUSED:
            return b""
        if kind == TokenType.NORMAL and all(char in _BYTE_OF for char in token):
            return bytes(_BYTE_OF[char] for char in token)
        return token.encode()  # special tokens, and what an older conversion left outside the alphabet

    def _encode_piece(self, text: str, at_start: bool) -> list[int]:
        if self._engine is None:
            self._engine = self._build_engine()
        ids: list[int] = self._engine.encode(text, add_special_tokens=False).ids
        return ids if self._complete else [i for i in ids if i < self.n_vocab]

    def _build_engine(self) -> Any:
        """The library's tokenizer. Built at the first text, as a large vocabulary takes a third of a second."""
        from tokenizers import Regex, models, pre_tokenizers
        from tokenizers import Tokenizer as Engine

        vocab = {token: i for token, i in self._vocabulary.ids.items() if token not in self.special_tokens}
        # A byte without a token still stands between its neighbours: it gets an id that `_encode_piece` drops.
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
