"""A sequence of tokens with its KV cache."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pyruntime.errors import ContextError

if TYPE_CHECKING:
    from pyruntime import _core

Ids = NDArray[np.int32]

NONE, LAST, ALL = 0, 1, 2  # positions of a piece whose logits a step returns


def as_ids(ids: Iterable[int] | Ids) -> Ids:
    """Token ids as int32 (n,); TypeError for what is not whole numbers, ValueError for what does not fit."""
    if isinstance(ids, bytes | bytearray):  # a text that was read from a file, not the numbers of its bytes
        raise TypeError(f"token ids must be a flat list of whole numbers, not {type(ids).__name__}")
    given = ids if isinstance(ids, np.ndarray) else np.asarray(list(ids))
    if given.size == 0:
        return np.empty(0, np.int32)
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise TypeError(f"token ids must be a flat list of whole numbers, not {given.dtype} of shape {given.shape}")
    if given.min() < 0 or given.max() >= 1 << 31:
        raise ValueError(f"token ids must be between 0 and 2**31 - 1; got {given.min()} to {given.max()}")
    return np.require(given, np.int32, ["C", "A"])  # the core reads it as int32_t[]


class Session:
    """Made by `Model.session()`. Only new tokens are computed; the bits are those of computing all of them at once.

    Use it as a context manager, or `close()` it, to give its memory back at once.
    """

    def __init__(self, engine: _core.Engine, sequence: _core.Sequence) -> None:
        self._engine = engine
        self._sequence = sequence

    @property
    def ids(self) -> list[int]:
        """The tokens held, a copy. The core alone counts them: Ctrl-C may come between a step and the next line of Python."""
        return self._sequence.ids

    def __len__(self) -> int:
        return len(self._sequence)

    def append(self, ids: Iterable[int] | Ids) -> NDArray[np.float32]:
        """Computes these tokens and returns the logits of the last position, float32 (n_vocab,).

        ValueError for an id out of range, and ContextError if they do not fit: the session is then unchanged. Ctrl-C raises
        KeyboardInterrupt and keeps the steps done.
        """
        given = self._checked(ids)
        if len(given) == 0:
            raise ValueError("append needs at least one token id")
        logits = np.empty((1, self._engine.n_vocab), np.float32)
        for chunk, is_last in self._chunks(given):
            self._engine.step([(self._sequence, chunk, LAST if is_last else NONE)], logits if is_last else None)
        last: NDArray[np.float32] = logits[0]
        return last

    def logits(self, ids: Iterable[int] | Ids) -> NDArray[np.float32]:
        """Computes these tokens and returns the logits of every one's position, float32 (n, n_vocab)."""
        given = self._checked(ids)
        logits = np.empty((len(given), self._engine.n_vocab), np.float32)
        done = 0
        for chunk, _ in self._chunks(given):
            self._engine.step([(self._sequence, chunk, ALL)], logits[done : done + len(chunk)])
            done += len(chunk)
        return logits

    def fork(self) -> Session:
        """Another session with the same tokens; the two share memory until they differ."""
        return Session(self._engine, self._sequence.fork())

    def rewind(self, n: int) -> None:
        """Keeps the first n tokens and forgets the rest. ValueError if there are fewer."""
        self._sequence.rewind(operator.index(n))

    def close(self) -> None:
        """Gives the memory back. Idempotent; it holds no ids afterwards, and what computes raises ValueError."""
        self._sequence.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # For generate.py, which puts several sessions into one step.

    @property
    def sequence(self) -> _core.Sequence:
        return self._sequence

    # Inside

    def _checked(self, ids: Iterable[int] | Ids) -> Ids:
        given = as_ids(ids)
        if len(given) and given.max() >= self._engine.n_vocab:
            raise ValueError(f"token id {given.max()} is outside the vocabulary (0 to {self._engine.n_vocab - 1})")
        if len(self) + len(given) > self._engine.context:
            raise ContextError(
                f"{len(self) + len(given)} tokens do not fit the context of {self._engine.context}; "
                "load the model with a larger context or shorten the text"
            )
        return given

    def _chunks(self, ids: Ids) -> list[tuple[Ids, bool]]:
        """ids as steps take them, and whether each is the last."""
        size = self._engine.max_tokens
        return [(ids[at : at + size], at + size >= len(ids)) for at in range(0, len(ids), size)]
