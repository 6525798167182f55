"""What a word that is unknown may have been meant to be. argparse's own suggestions differ between versions of Python."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_MIN_BEGINNING = 3  # characters: fewer begin a flag by chance


def did_you_mean(words: Iterable[str], known: Iterable[str]) -> str:
    """The end of an error's line: for those words that are almost a known one, or begin one alone; empty if none is.

    Dashes at the beginning do not count, on either side: `-temperature` and `help` are meant to be flags.
    """
    by_key = {name.lstrip("-"): name for name in known}
    near = []
    for word in words:
        key = word.lstrip("-").lower()
        begun = [name for name in by_key if name.startswith(key)] if len(key) >= _MIN_BEGINNING else []
        near += begun if len(begun) == 1 else get_close_matches(key, by_key, 1)
    return f": did you mean {' and '.join(repr(by_key[key]) for key in dict.fromkeys(near))}?" if near else ""
