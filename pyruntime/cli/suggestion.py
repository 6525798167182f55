"""What a word that is unknown may have been meant to be. argparse's own suggestions differ between versions of Python."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_MIN_BEGINNING = 3  # characters: fewer begin a word by chance


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that it begins, if it is only one, or almost is."""
    names = list(known)
    begun = [name for name in names if name.startswith(word)] if len(word) >= _MIN_BEGINNING else []
    return begun[0] if len(begun) == 1 else next(iter(get_close_matches(word, names, 1)), None)


def did_you_mean(words: Iterable[str], known: Iterable[str]) -> str:
    """The end of an error's line, for those words that something is close to; empty if nothing is.

    Dashes at the beginning do not count, on either side: `-temperature` and `help` are meant to be flags.
    """
    by_key = {name.lstrip("-"): name for name in known}
    near = dict.fromkeys(closest(word.lstrip("-").lower(), by_key) for word in words)
    names = [repr(by_key[key]) for key in near if key is not None]
    return f": did you mean {' and '.join(names)}?" if names else ""
