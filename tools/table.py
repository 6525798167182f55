"""Tables of Markdown."""

from __future__ import annotations


def cell(value: str) -> str:
    """A text as a cell shows it: on one line, with no bar that would end it."""
    return " ".join(value.split()).replace("|", "\\|")
