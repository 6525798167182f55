"""Text from tokens one at a time."""

from __future__ import annotations

import codecs
from typing import Protocol


class _Decodes(Protocol):
    def decode_bytes(self, ids: list[int], skip_special: bool = False) -> bytes: ...


class StreamDecoder:
    """Turns ids into text as they come. What `push` and `finish` return, joined, is `tokenizer.decode(ids)`.

    A token may end inside a character: its bytes are held back until the rest arrives, so no text is ever taken back.
    """

    def __init__(self, tokenizer: _Decodes, skip_special: bool = True) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """The text that this token completes, often empty. ValueError for an id outside the vocabulary."""
        return self._utf8.decode(self._tokenizer.decode_bytes([token_id], self._skip_special))

    def finish(self) -> str:
        """What is still held back, as U+FFFD. The decoder may be used again afterwards."""
        rest = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return rest
