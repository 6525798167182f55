"""What is said about an answer, beside it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pyruntime.cli.terminal import note

if TYPE_CHECKING:
    from pyruntime import Model


def say_dropped(model: Model, n: int) -> None:
    """That the n oldest messages are left out, if any are."""
    if n:
        note(f"pyruntime: the context of {model.context} tokens is full: the oldest messages ({n}) are left out")


def remark(text: str) -> None:
    """A line under the answer, for a person who sees both at a terminal."""
    if sys.stdout.isatty() and sys.stderr.isatty():
        note(text, dim=True)
