"""What one rendering may take: in this process, beside everything else, or alone in a process of its own (apart.py).

minijinja's fuel pays for instructions and for the text and lists that a template makes; what it does not see, Python
pays for here: what is read out of the conversation, what Python makes, and time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NoReturn

MEMORY = 64 << 20  # bytes that a process of its own may take beyond what it needs to begin
TOO_LONG = "chat template: it takes more than 1 s"
TOO_LARGE = f"chat template: it takes more than {MEMORY >> 20} MB"
_COPIES = 4  # of the conversation: what a template may make out of it


class Exceeded(Exception):
    """A limit is reached. It is no TemplateError yet: what is too much here may be done in a process of its own."""


@dataclass(frozen=True)
class Limits:
    """Sizes are in items, with those of their items; 64 characters of a string count as one."""

    fuel: int  # an instruction, or 64 bytes of text, or two items of a list
    seconds: float  # of the thread's own, for a text and its marked copies (marks.py); the rest is for each of them
    bytes: int  # of text that is read from the conversation, short strings apart, or that Python makes
    size: int  # of a list or mapping that a template makes


def alone(size: int) -> Limits:
    """In a process of its own, for a conversation of this size."""
    return Limits(fuel=2_000_000, seconds=1.0, bytes=256 << 20, size=100_000 + _COPIES * size)


def beside(size: int) -> Limits:
    """In this process. The templates in use take up to 94 of fuel a message and twelve passes over its text; 600,000
    of fuel are 38 MB, or 80 ms.
    """
    return Limits(
        fuel=min(50_000 + 64 * size, 600_000),
        seconds=0.2,
        bytes=min((2 << 20) + 1024 * size, 24 << 20),
        size=10_000 + _COPIES * size,
    )


class Budget:
    """What is left to the renderings of one conversation. Once something is exceeded, all that is asked is refused."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.exceeded = ""
        self._seconds = limits.seconds

    @contextmanager
    def rendering(self) -> Iterator[None]:
        """What Python does in this block is paid for out of this budget."""
        start = time.thread_time()
        self._bytes = self.limits.bytes
        self._cpu_end = start + self._seconds
        self._wall_end = time.perf_counter() + self._seconds
        token = _budget.set(self)
        try:
            yield
        finally:
            _budget.reset(token)
            self._seconds -= time.thread_time() - start

    def spend(self, n_bytes: int) -> None:
        self._bytes -= n_bytes
        if self._bytes < 0:
            self.refuse(f"chat template: more than {self.limits.bytes >> 20} MB of text")
        # thread_time takes 1.2 us, perf_counter 0.1 us; no thread has worked for longer than the clock says
        if time.perf_counter() > self._wall_end and time.thread_time() > self._cpu_end:
            self.refuse(TOO_LONG)
        self.check()

    def refuse(self, reason: str) -> NoReturn:
        self.exceeded = self.exceeded or reason
        raise Exceeded(self.exceeded)

    def check(self) -> None:
        """minijinja drops some errors, as in comparisons; they are not forgotten here."""
        if self.exceeded:
            raise Exceeded(self.exceeded)


_budget: ContextVar[Budget | None] = ContextVar("_budget", default=None)


def current() -> Budget | None:
    return _budget.get()


def spend(n_bytes: int) -> None:
    """Before text of this length is made or read for a template. Exceeded if the rendering has no time or room left."""
    opened = _budget.get()
    if opened is not None:
        opened.spend(n_bytes)


def tick() -> bool:
    """Stands in a template where fuel does not see the time that passes (cost.py). True."""
    spend(0)
    return True
