"""What the Python harnesses share. A harness is a module with

    run(data)              uses the code under test with an input; True if it came past the door. A broken promise raises.
    mutate(data, random)   another input, near this one
    seeds()                inputs from which the corpus grew

driver.py replays a corpus and mutants of it, the same ones each time; guided.py lets atheris look for more.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Protocol

LONGEST_MESSAGE = 1000  # characters


class Harness(Protocol):
    def run(self, data: bytes) -> bool: ...

    def mutate(self, data: bytes, draw: random.Random) -> bytes: ...

    def seeds(self) -> Iterable[bytes]: ...


class Broken(Exception):
    """A promise that the code under test did not keep. No error of its own: no harness expects it."""


def require(condition: bool, promise: str) -> None:
    if not condition:
        raise Broken(promise)


def check_message(error: Exception) -> None:
    message = str(error)
    require(message.isprintable(), f"a message is one line that a terminal may be given: {message!r}")
    require(0 < len(message) <= LONGEST_MESSAGE, f"a message is short: {message:.2000}")


_OFTEN = (0, 1, 0x7F, 0x80, 0xFF)


def mutate_bytes(data: bytes, draw: random.Random) -> bytes:
    """What libFuzzer would do to bytes of which it knows nothing."""
    changed = bytearray(data)
    at = draw.randint(0, len(changed))
    part = changed[at : at + draw.randint(1, 8)]
    match draw.randrange(5):
        case 0:
            changed.insert(at, draw.choice([*_OFTEN, draw.randrange(256)]))
        case 1:
            del changed[at : at + len(part)]
        case 2:
            place = draw.randint(0, len(changed))
            changed[place:place] = part
        case 3 if at < len(changed):
            changed[at] ^= 1 << draw.randrange(8)
        case _ if at < len(changed):
            changed[at] = draw.choice([*_OFTEN, draw.randrange(256)])
    return bytes(changed)


def splice(text: str, draw: random.Random, pieces: Sequence[str]) -> str:
    """A text with a part of it left out, doubled, moved, or replaced by one of the pieces."""
    start = draw.randint(0, len(text))
    end = min(len(text), start + draw.choice((0, 1, 2, 5, 20, 100)))
    match draw.randrange(5):
        case 0:
            return text[:start] + text[end:]
        case 1:
            return text[:end] + text[start:]
        case 2:
            place = draw.randint(0, len(text))
            return text[:place] + text[start:end] + text[place:]
        case _:
            return text[:start] + draw.choice(pieces) + text[end:]
