"""How far something has come, on a terminal, once it has taken a second; and no trace of it afterwards."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol, Self, TypeVar

from pyruntime.cli.terminal import is_quiet

PATIENCE = 1.0  # seconds
_PERIOD = 0.2  # seconds
_WIDTH = 20  # of the bar

T = TypeVar("T")


class Progress:
    """While it is entered: a line on stderr with the share that is done, written by a thread of its own.

    what: before the bar. state: (done, total), asked by that thread. unit: what it counts; "MB" of a number of bytes.
    """

    def __init__(self, what: str, state: Callable[[], tuple[int, int]], unit: str) -> None:
        self._what = what
        self._state = state
        self._unit = unit
        self._over = threading.Event()
        self._width = 0  # of the line that is shown
        live = sys.stderr.isatty() and not is_quiet()
        self._thread = threading.Thread(target=self._watch, daemon=True) if live else None

    def __enter__(self) -> Self:
        if self._thread:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread:
            self._thread.join()

    def _watch(self) -> None:
        if self._over.wait(PATIENCE):
            return
        while True:
            self._show(self._line())
            if self._over.wait(_PERIOD):
                self._show("")
                return

    def _line(self) -> str:
        done, total = self._state()
        share = min(done / total, 1.0) if total else 0.0
        counts = f"{done / 1e6:,.0f} of {total / 1e6:,.0f}" if self._unit == "MB" else f"{done:,} of {total:,}"
        return f"{self._what} [{'#' * int(share * _WIDTH):-<{_WIDTH}}] {share:4.0%}  {counts} {self._unit}"

    def _show(self, line: str) -> None:
        """In place of what is shown, with the cursor at its start: what is written next writes over it."""
        with suppress(OSError, ValueError):
            columns = os.get_terminal_size(sys.stderr.fileno()).columns
            line = line[: columns - 1]  # one that wraps could not be taken back
            sys.stderr.write(f"\r{line}{' ' * (self._width - len(line))}\r")
            sys.stderr.flush()
            self._width = len(line)


@contextmanager
def told(what: str, unit: str, total: int = 0) -> Iterator[Callable[[int, int], None]]:
    """A Progress for what tells how far it is by itself: it is to call what this gives, with (done, total)."""
    state = (0, total)

    def tell(done: int, total: int) -> None:
        nonlocal state
        state = done, total

    with Progress(what, lambda: state, unit):
        yield tell


class _Reads(Protocol):
    @property
    def prefill(self) -> tuple[int, int]: ...


def reading(answer: _Reads) -> Progress:
    """How much of its prompt an answer has read."""
    return Progress("reading", lambda: answer.prefill, "tokens")


def until_first(pieces: Iterable[T], progress: Progress) -> Iterator[T]:
    """The pieces; until the first of them comes, or the end, the progress is shown."""
    iterator = iter(pieces)
    with progress:
        first = next(iterator, None)
    if first is not None:
        yield first
        yield from iterator
