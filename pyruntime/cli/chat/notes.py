"""What is said about an answer, beside it."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from pyruntime.cli.chat.modes import styles
from pyruntime.cli.terminal import is_quiet, note, say

if TYPE_CHECKING:
    from pyruntime import Model


def say_dropped(model: Model, n: int) -> None:
    """That the n oldest messages are left out, if any are."""
    if n:
        note(f"pyruntime: the context of {model.context} tokens is full: the oldest messages ({n}) are left out")


def remark(text: str) -> None:
    """A line under the answer, dim where that can be, for a person who sees both at a terminal."""
    if is_quiet() or not (sys.stdout.isatty() and sys.stderr.isatty()):
        return
    if not styles():
        say(text)
        return
    with suppress(OSError):
        print(f"\x1b[2m{text}\x1b[0m", file=sys.stderr, flush=True)
