"""A sequence of tokens with its KV cache."""

from __future__ import annotations

import difflib
import operator
import os
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from pyruntime.errors import ContextError

if TYPE_CHECKING:
    from pyruntime import _core
    from pyruntime.plan import Plan

Ids = NDArray[np.int32]

_SCORE_BYTES = 64 << 20  # of logits at a time
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


class Host(Protocol):
    """What a session asks of the model that made it, when it is asked for it."""

    @property
    def unfused_plan(self) -> Plan:
        """The plan with every value in it."""

    @property
    def fingerprint(self) -> bytes:
        """32 bytes that differ where a KV cache of one model is none of another."""

    def encode(self, text: str, *, is_start: bool) -> list[int]:
        """Ids of a text, at the start of a sequence or in the middle."""


@dataclass(frozen=True, slots=True)
class Score:
    """How likely a model finds a text. `logprobs` (n,) float64: the natural logarithm of each token's probability after those
    before it, NaN for a first token that nothing precedes. `top_ids` (n, k), best first, and `top_logprobs`: the likeliest
    tokens in its place; -1 and NaN where nothing precedes."""

    ids: Ids
    logprobs: NDArray[np.float64]
    top_ids: Ids
    top_logprobs: NDArray[np.float64]

    @property
    def total(self) -> float:
        """The sum of the log probabilities."""
        return float(np.nansum(self.logprobs))


class Session:
    """Made by `Model.session()`. Only new tokens are computed; the bits are those of computing all of them at once.

    Use it as a context manager, or `close()` it, to give its memory back at once.
    """

    def __init__(self, engine: _core.Engine, sequence: _core.Sequence, host: Host) -> None:
        self._engine = engine
        self._sequence = sequence
        self._host = host

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
        plan = self._host.unfused_plan
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

    def score(self, text: str | Iterable[int] | Ids, top_k: int = 0) -> Score:
        """How likely the model finds a text, or token ids, after what the session holds; the session stays as it is.

        A text at the start of a session gets the tokens that begin one, as in `Model.generate`. ValueError and ContextError as
        `append`.
        """
        from pyruntime._core import log_probabilities

        held = self.ids
        given = as_ids(self._host.encode(text, is_start=not held) if isinstance(text, str) else text)
        top_k = operator.index(top_k)
        if not 0 <= top_k <= self._engine.n_vocab:
            raise ValueError(f"top_k must be between 0 and {self._engine.n_vocab}, not {top_k}")
        known = bool(held)  # whether something precedes the first token
        logprobs = np.full(len(given), np.nan)
        top_ids, top_logprobs = np.full((len(given), top_k), -1, np.int32), np.full((len(given), top_k), np.nan)
        with self.fork() as fork:
            fork._checked(given)
            if known:  # the logits after the last token are needed once more
                fork.rewind(len(held) - 1)
            fed = np.concatenate([np.array(held[-1:], np.int32), given])[:-1]
            rows = max(1, min(self._engine.max_tokens, _SCORE_BYTES // (4 * self._engine.n_vocab)))
            for at in range(0, len(fed), rows):
                logits = fork.logits(fed[at : at + rows])
                to = slice(at + (not known), at + (not known) + len(logits))
                logprobs[to], top_ids[to], top_logprobs[to] = log_probabilities(logits, given[to], top_k)
        return Score(given, logprobs, top_ids, top_logprobs)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the session to a file that `load` reads: its ids and KV cache. A file that is there is replaced once the new
        one is complete. OSError as `open`."""
        from pyruntime import session_file

        session_file.save(path, self._host.fingerprint, self._sequence)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Replaces what the session holds by what `save` has written, of the same model with the same KV type.

        SessionFileError for a file that is damaged or of another model, ContextError if it does not fit, OSError as `open`:
        the session is then unchanged. The last tokens, fewer than 64, are computed again, to the same bits.
        """
        from pyruntime import session_file

        sequence, rest = session_file.load(path, self._host.fingerprint, self._engine)
        loaded = Session(self._engine, sequence, self._host)
        try:
            if rest:
                loaded.append(rest)
        except BaseException:
            loaded.close()
            raise
        old, self._sequence = self._sequence, sequence
        old.close()

    def fork(self) -> Session:
        """Another session with the same tokens; the two share memory until they differ."""
        return Session(self._engine, self._sequence.fork(), self._host)

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
