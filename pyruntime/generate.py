"""Generation: sequences advance together, a step at a time, until each has ended."""

from __future__ import annotations

import operator
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Literal

import numpy as np

from pyruntime.errors import NumericsError
from pyruntime.reasoning import Splitter, mark_tokens, overlap
from pyruntime.sampling import Sampling
from pyruntime.session import Ids, Session

if TYPE_CHECKING:
    from pyruntime import _core
    from pyruntime._core import Logprobs
    from pyruntime.speculation import Guesser, Speculation
    from pyruntime.tokenizer import Tokenizer

MAX_LOGPROBS = 1024  # of the likeliest tokens: what is more is a distribution, and `Session.append` gives its logits
FinishReason = Literal["stop", "length", "interrupted"]


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A generated token, the natural logarithm of its probability, and (id, logarithm) of the likeliest tokens at its place,
    the likeliest first. They are the model's own probabilities, before bias, penalties, temperature and all that follows."""

    id: int
    logprob: float
    top: list[tuple[int, float]]


@dataclass(slots=True)
class Generation:
    """What came out. `ids` are the generated tokens, without the end token; `finish_reason` is "stop" (an end token or a stop
    string), "length" (max_tokens or the context) or "interrupted". `timings` are seconds and token counts; of the
    "drafted_tokens", which were guessed, the "accepted_tokens" were right. `reasoning` is what a model thought before it
    answered in a chat, without its marks; `text` is without it, and `ids` are all of it. `logprobs`, where they were asked for,
    has an entry for each of `ids`. `dropped_messages` is how many of a chat's oldest messages were left out of the prompt,
    since the context could not hold them."""

    text: str
    ids: list[int]
    finish_reason: FinishReason
    prompt_tokens: int
    seed: int
    timings: dict[str, float] = field(default_factory=dict)
    reasoning: str = ""
    logprobs: list[TokenLogprob] | None = None
    dropped_messages: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """What a call asks of its generations. Raises TypeError or ValueError that names the argument."""

    sampling: Sampling
    max_tokens: int | None = None
    stop: Sequence[str] = ()
    logprobs: int | None = None

    def __post_init__(self) -> None:
        if self.max_tokens is not None and operator.index(self.max_tokens) < 1:
            raise ValueError(f"max_tokens must be at least 1, not {self.max_tokens}")
        if isinstance(self.stop, str) or any(not s for s in self.stop):
            raise ValueError("stop must be a list of strings that are not empty")
        if self.logprobs is not None and not 0 <= operator.index(self.logprobs) <= MAX_LOGPROBS:
            raise ValueError(f"logprobs must be between 0 and {MAX_LOGPROBS}, or None, not {self.logprobs}")


class Job:
    """One sequence on its way: the tokens it still has to feed, what it has produced, and why it ended."""

    def __init__(
        self, tokenizer: Tokenizer, session: Session, feed: Ids, request: Request, stream: int,
        n_vocab: int, room: int, splitter: Splitter | None = None, dropped_messages: int = 0,
    ) -> None:  # fmt: skip
        """room: how many tokens the context has left for it. stream: its place in a call of several."""
        self.session = session
        self.prompt_tokens = len(session) + len(feed)
        self.feed = feed
        top = None if request.logprobs is None else min(request.logprobs, n_vocab)
        self.sampler = request.sampling.sampler(n_vocab, stream, tokenizer, top)
        self.sampler.accept_all(session.ids)
        self.ids: list[int] = []
        self.text = ""
        self.reasoning = ""
        self.logprobs: list[TokenLogprob] | None = None if top is None else []
        self.finish_reason: FinishReason | None = None
        self._max_new = min(request.max_tokens or room, room)
        self._end_ids = tokenizer.end_ids
        self._decoder = tokenizer.stream_decoder(at_start=False)  # the prompt stands before
        self._n_texts = tokenizer.n_vocab
        self._stop = request.stop
        self._dropped_messages = dropped_messages
        self._splitter = splitter
        self._marks = mark_tokens(tokenizer) if splitter else {}
        self._held = ""  # decoded, but it may be the beginning of a stop string
        self._started = time.perf_counter()
        self._cached = len(session)
        self._prefill_ended: float | None = None
        self._ended: float | None = None
        self._drawn = 0
        self._drafted = self._accepted = 0  # tokens that were guessed, and that were guessed right
        self.ahead = False  # whether the session may hold tokens that are not taken yet

    def take(self, ids: list[int], logprobs: list[Logprobs], guesses: list[int]) -> Iterator[str]:
        """Takes the tokens that a step drew, up to where the text ends; yields for each the text that is certain now."""
        self._drafted += len(guesses)
        for token, found, guess in zip_longest(ids, logprobs, guesses[: len(ids)]):
            text = self._accept(token, found)
            self._accepted += token == guess
            if self.finish_reason is not None:
                self.settle()
            yield text
            if self.finish_reason is not None:
                return
        self.ahead = False

    def _accept(self, token: int, logprobs: Logprobs | None) -> str:
        self._drawn += 1
        if self._prefill_ended is None:
            self._prefill_ended = time.perf_counter()
        if token in self._end_ids and not (self._splitter and self._splitter.closes(self._marks.get(token, ""))):
            return self._end("stop")
        self.ids.append(token)
        if self.logprobs is not None and logprobs is not None:
            (_, logprob), top = logprobs
            self.logprobs.append(TokenLogprob(token, logprob, top))
        self.feed = np.array([token], np.int32)
        # Rows that pad the vocabulary beyond the tokenizer's have no text; a model should not draw them, and may.
        text, stopped = self._until_stop(self._split(token, self._decoder.push(token) if token < self._n_texts else ""))
        self.text += text
        if stopped:
            self.finish_reason = "stop"
            self._ended = time.perf_counter()
        elif len(self.ids) >= self._max_new:
            text += self._end("length")
        return text

    def settle(self) -> None:
        """Takes out of the session what a step computed beyond the tokens taken; the last of those need not be computed."""
        held = self.prompt_tokens + max(self._drawn - 1, 0)
        if self.ahead and len(self.session) > held:
            self.session.rewind(held)
        self.ahead = False

    @property
    def known(self) -> list[int]:
        """The text so far, prompt included."""
        return [*self.session.ids, *self.feed.tolist()]

    @property
    def guessable(self) -> int:
        """How many tokens it makes sense to guess after the one to be fed: a step draws one more."""
        return self._max_new - len(self.ids) - 1 if self._drawn else 0

    @property
    def prefill(self) -> tuple[int, int]:
        """Tokens of the prompt that are computed, and that had to be."""
        total = self.prompt_tokens - self._cached
        return (total - len(self.feed) if self._prefill_ended is None else total), total

    def interrupt(self) -> str:
        """Ends early; returns text that had been held back."""
        return "" if self.finish_reason else self._end("interrupted")

    def result(self) -> Generation:
        ended = self._ended or time.perf_counter()
        prefilled = self._prefill_ended or ended
        timings = {
            "cached_tokens": self._cached,
            "prefill_tokens": self.prefill[1],
            "prefill_seconds": prefilled - self._started,
            "generate_tokens": len(self.ids),
            "generate_seconds": ended - prefilled,
            "drafted_tokens": self._drafted,
            "accepted_tokens": self._accepted,
        }
        return Generation(
            self.text, self.ids, self.finish_reason or "interrupted", self.prompt_tokens, self.sampler.seed, timings,
            self.reasoning, self.logprobs, self._dropped_messages,
        )  # fmt: skip

    def _end(self, reason: FinishReason) -> str:
        self.finish_reason = reason
        self._ended = time.perf_counter()
        text, stopped = self._until_stop(self._split(None, self._decoder.finish()))
        if not stopped:
            text += self._held
        self._held = ""
        self.text += text
        return text

    def _split(self, token: int | None, piece: str) -> str:
        """The part of a piece that is text; the rest is added to `reasoning`. None: it is the last piece."""
        if self._splitter is None:
            return piece
        if token is not None and not self._splitter.answering:
            piece += self._marks.get(token, "")
        reasoning, text = self._splitter.push(piece)
        if token is None:
            more = self._splitter.finish(cut=self.finish_reason != "stop")
            reasoning, text = reasoning + more[0], text + more[1]
        self.reasoning += reasoning
        return text

    def _until_stop(self, piece: str) -> tuple[str, bool]:
        """The text before a stop string, and whether one came; holds back what may yet become one."""
        self._held += piece
        found = [at for at in (self._held.find(s) for s in self._stop) if at >= 0]
        if found:
            text, self._held = self._held[: min(found)], ""
            return text, True
        keep = max((overlap(self._held, s) for s in self._stop), default=0)
        text = self._held[: len(self._held) - keep]
        self._held = self._held[len(self._held) - keep :]
        return text, False


def run(engine: _core.Engine, jobs: Sequence[Job], speculation: Speculation | None = None) -> Iterator[tuple[int, str]]:
    """Advances all jobs, yielding (index of the job, new text) for each token drawn, until all have ended.

    A step holds one token of each sequence that generates and, in what room is left, prompts in chunks. Tokens are guessed once
    a single job is left: several share the weights that a step reads already.
    """
    active = list(range(len(jobs)))
    with ExitStack() as stack:
        guesser: Guesser | None = None
        while active:
            guesses: list[int] = []
            if speculation is not None and len(active) == 1 and (room := jobs[active[0]].guessable):
                if guesser is None:
                    guesser = stack.enter_context(speculation.guesser(jobs[active[0]].known))
                guesses = guesser.guess(min(room, engine.max_tokens - 1))
            chosen = _chunks(jobs, active, engine.max_tokens)
            pieces = []
            for i, chunk in chosen:
                whole = len(chunk) == len(jobs[i].feed)
                jobs[i].ahead = bool(guesses)
                fed = np.append(chunk, np.array(guesses, np.int32)) if guesses else chunk
                pieces.append((jobs[i].session.sequence, fed, jobs[i].sampler if whole else None, len(guesses)))
            drawn = engine.step_and_sample(pieces)
            if guesser is not None and room:
                guesser.drew(drawn[0][0])
            for (i, chunk), (ids, logprobs, error) in zip(chosen, drawn, strict=True):
                if not ids:
                    jobs[i].feed = jobs[i].feed[len(chunk) :]
                    jobs[i].sampler.accept_all(chunk.tolist())
                    continue
                for text in jobs[i].take(ids, logprobs, guesses):
                    yield i, text
                if error and jobs[i].finish_reason is None:
                    raise NumericsError(error)
            active = [i for i in active if jobs[i].finish_reason is None]


def _chunks(jobs: Sequence[Job], active: Sequence[int], room: int) -> list[tuple[int, Ids]]:
    """What a step of `room` tokens takes of which jobs, those with the fewest first."""
    chosen = []
    for i in sorted(active, key=lambda i: len(jobs[i].feed)):
        chunk = jobs[i].feed[:room]
        if len(chunk) == 0:
            break
        room -= len(chunk)
        chosen.append((i, chunk))
    return chosen


class Stream:
    """The answer as it comes: iterate for pieces of text, or over `parts()` for the reasoning too, then read `result`.

    Made by `Model.stream` and `Model.stream_chat`. Ctrl-C raises KeyboardInterrupt out of the iteration; the session stays
    consistent, and `result` holds what there is. Until the iteration ends, or `close()`, the session may be some tokens ahead of
    the text.
    """

    def __init__(
        self, engine: _core.Engine, job: Job, owned: Session | None = None, speculation: Speculation | None = None
    ) -> None:
        self._job = job
        self._owned = owned  # a session made for this generation alone
        self._parts = _parts(engine, job, owned, speculation)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while True:
            _, text = next(self._parts)
            if text:
                return text

    def parts(self) -> Iterator[tuple[str, str]]:
        """Pairs (reasoning, text) of new pieces, one of them often empty. It goes on where another iteration stopped."""
        return self._parts

    @property
    def result(self) -> Generation:
        """What has come out so far; final once the iteration has ended."""
        return self._job.result()

    @property
    def prefill(self) -> tuple[int, int]:
        """How many of the prompt's tokens are computed, and how many had to be; it may be asked by another thread."""
        return self._job.prefill

    def close(self) -> None:
        """Ends the generation where it is."""
        self._parts.close()
        _end(self._job, self._owned)  # closing a generator that never began runs nothing of it


# Not a method: a generator that holds its Stream, and is held by it, would keep the memory of a dropped one.
def _parts(
    engine: _core.Engine, job: Job, owned: Session | None, speculation: Speculation | None
) -> Generator[tuple[str, str], None, None]:
    seen = 0
    try:
        for _, text in run(engine, [job], speculation):
            reasoning, seen = job.reasoning[seen:], len(job.reasoning)
            if reasoning or text:
                yield reasoning, text
    finally:
        _end(job, owned)


def _end(job: Job, owned: Session | None) -> None:
    job.interrupt()
    job.settle()
    if owned is not None:
        owned.close()
