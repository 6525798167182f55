"""Text from tokens one at a time."""

from __future__ import annotations

import codecs
from collections.abc import Callable


class StreamDecoder:
    """Turns ids into text as they come. What `push` and `finish` return, joined, is `tokenizer.decode(ids)`.

    A token may end inside a character: its bytes are held back until the rest arrives, so no text is ever taken back.
    Made by `Tokenizer.stream_decoder`.
    """

    def __init__(
        self, decode_token: Callable[[int, bool, bool], tuple[bytes, bool]], skip_special: bool, at_start: bool
    ) -> None:
        self._decode_token = decode_token
        self._skip_special = skip_special
        self._began_at_start = self._at_start = at_start
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """The text that this token completes, often empty. ValueError for an id outside the vocabulary."""
        value, self._at_start = self._decode_token(token_id, self._skip_special, self._at_start)
        return self._utf8.decode(value)

    def finish(self) -> str:
        """What is still held back, as U+FFFD. The decoder may be used again afterwards, for another text."""
        rest = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        self._at_start = self._began_at_start
        return rest
