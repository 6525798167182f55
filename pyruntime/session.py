"""A sequence of tokens with its KV cache."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from pyruntime.errors import ContextError

if TYPE_CHECKING:
    from pyruntime import _core
    from pyruntime.plan import Plan

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

    def __init__(self, engine: _core.Engine, sequence: _core.Sequence, unfused: Callable[[], Plan]) -> None:
        self._engine = engine
        self._sequence = sequence
        self._unfused = unfused  # the model's plan with every value in it, built when one is asked for

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

    @overload
    def capture(self, names: str, ids: Iterable[int] | Ids | None = ...) -> NDArray[np.float32]: ...
    @overload
    def capture(
        self, names: list[str] | tuple[str, ...], ids: Iterable[int] | Ids | None = ...
    ) -> dict[str, NDArray[np.float32]]: ...
    def capture(
        self, names: str | list[str] | tuple[str, ...], ids: Iterable[int] | Ids | None = None
    ) -> NDArray[np.float32] | dict[str, NDArray[np.float32]]:
        """Values inside the model by name, float32 (n, width): of these tokens, which are appended, or of all that the session
        holds, which are computed once more. A list of names gives a dict.

        `Model.value_names` lists them, such as "blk.3.attn_out". ValueError for an unknown name; otherwise as `append`.
        """
        wanted = [names] if isinstance(names, str) else list(names)
        plan = self._unfused()
        for name in wanted:
            if name not in plan.names:
                near = difflib.get_close_matches(name, plan.names, 3)
                hint = f"; did you mean {' or '.join(near)}?" if near else ""
                raise ValueError(f"the model has no value {name!r}{hint}")
        given = self._checked(ids) if ids is not None else as_ids(self.ids)
        sequence = self._sequence if ids is not None else self._engine.sequence()
        values = [plan.names[name] for name in wanted]
        found = [np.empty((len(given), plan.values[i].width), np.float32) for i in values]
        capture = self._engine.capture(plan.for_core(), values)
        try:
            for at in range(0, len(given), self._engine.max_tokens):
                chunk = slice(at, at + self._engine.max_tokens)
                capture.step(sequence, given[chunk], [rows[chunk] for rows in found])
        finally:
            if ids is None:
                sequence.close()
        return found[0] if isinstance(names, str) else dict(zip(wanted, found, strict=True))

    def fork(self) -> Session:
        """Another session with the same tokens; the two share memory until they differ."""
        return Session(self._engine, self._sequence.fork(), self._unfused)

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
