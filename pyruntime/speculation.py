"""Speculation: the next tokens are guessed, and one step of the model checks all guesses at once.

It changes no token and no bit: a step of several tokens gives the logits of as many steps, and the sampler draws each token
by its position (docs/numerics.md). So whether to guess, and how far, may follow the clock.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pyruntime._core import Strings
from pyruntime.errors import MemoryLimitError, NumericsError, UnsupportedError, printable, shown
from pyruntime.sampling import Sampling
from pyruntime.session import NONE

if TYPE_CHECKING:
    from pyruntime.model import Model

# Tokens of a step with guesses. On AVX-512 four cost 1.05 times as much as one, 8 cost 1.1 to 1.5 and 16 cost 1.6 to 2.8 times as
# much (docs/performance.md); on AVX2 1.5, 2.5 and 4. Few sizes are soon timed.
SIZES = (2, 3, 4, 8, 16)
MOST_GUESSES = SIZES[-1] - 1

START_CREDIT = 1.0  # what guesses may lose before they have gained anything, in steps of one token ...
SHARE = 0.01  # ... and of each token's time
STEPS = 4  # of one token, before the first guess
FORGETS = (
    256  # tokens after which each size of step forgets its oldest time, or half of it: perhaps the machine was busy
)
MOST_CREDIT = 4.0  # of what was gained so much may be lost again: enough to try 16 tokens once

_SMALLER = dict(zip(SIZES, (1, *SIZES), strict=False))

Source = Literal["lookup", "draft"]
Kind = tuple[Source, int]  # with the length of the match, of a draft model 0


class Lookup:
    """Guesses that a text goes on as it did where its last tokens came before (prompt lookup).

    Tables of where 4, 3 and 2 tokens last came take what is new, never the whole text: a microsecond a token, and 0.4 KB.
    """

    LONGEST = 8  # longer matches are as sure

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = list(ids)
        self._after = {  # n tokens: the index of what followed them last; the last n are not in it yet
            n: dict(zip(zip(*(ids[i:] for i in range(n)), strict=False), range(n, len(ids)), strict=False))
            for n in (4, 3, 2)
        }

    def push(self, token: int) -> None:
        ids = self.ids
        for n, after in self._after.items():
            if len(ids) >= n:
                after[tuple(ids[-n:])] = len(ids)
        ids.append(token)

    def find(self) -> tuple[int, int] | None:
        """How many of the last tokens, up to LONGEST, came before, and the index of what followed them."""
        ids = self.ids
        for n, after in self._after.items():
            at = after.get(tuple(ids[-n:]))
            if at is not None:
                while n < min(self.LONGEST, at) and ids[at - n - 1] == ids[-n - 1]:
                    n += 1
                return n, at
        return None

    def guess(self, at: int, n: int) -> list[int]:
        """The n tokens from there; where they reach the end of the text it goes round, as a repetition does."""
        ids = self.ids
        return [ids[at + i % (len(ids) - at)] for i in range(n)]


class Rate:
    """How often guesses of a kind are right: each with the same probability, as long as those before it were."""

    FIRST = 2.0  # guesses that the first estimate counts for
    KEPT = 0.9  # of what was seen, from one try to the next
    PAUSES = (16, 256)  # tokens between tries that the estimate speaks against: doubled each time one fails

    def __init__(self, first: float) -> None:
        self._right, self._wrong = self.FIRST * first, self.FIRST * (1 - first)
        self._pause = self.PAUSES[0]
        self._resume = 0

    def expected(self, n: int) -> float:
        """How many of n guesses will be right."""
        p = min(self._right / (self._right + self._wrong), 0.99)
        return p * (1 - p**n) / (1 - p)

    def add(self, n: int, right: int) -> None:
        """Of n guesses so many were right."""
        self._right = self.KEPT * self._right + right
        self._wrong = self.KEPT * self._wrong + (right < n)
        if right:
            self._pause = self.PAUSES[0]

    def due(self, now: int) -> bool:
        """Whether to try it against the estimate, after so many tokens; if so, the next time comes later."""
        if now < self._resume:
            return False
        self._resume = now + self._pause
        self._pause = min(2 * self._pause, self.PAUSES[1])
        return True


class Pace:
    """Whether to guess, and how many tokens: as many as promise most tokens a second, by what steps of each size took so far
    and by how often guesses of the kind were right.

    The unit is the time of a step of one token, the median of the last ones. What guesses may lose is counted: a token gives
    SHARE, tokens that cost less than they would have one by one give the difference, and a step with guesses is made only if
    the credit covers it with all of them wrong. So they never take more than START_CREDIT and SHARE of the time.
    """

    def __init__(self) -> None:
        self._credit = START_CREDIT
        self._tokens = 0
        self._forget = FORGETS
        self._seconds: deque[float] = deque(maxlen=16)  # of steps of one token
        self._second = 0.0  # their median
        self._taken: dict[tuple[Source, int], deque[float]] = {}
        self._cost: dict[tuple[Source, int], float] = {}  # the medians of those
        # The first estimates are of copying and free chat in about equal parts.
        self._rates = {("lookup", n): Rate(0.15 * n if n < 4 else 0.6) for n in range(2, 8)}
        self._rates |= {("lookup", Lookup.LONGEST): Rate(0.8), ("draft", 0): Rate(0.6)}

    def start(self) -> None:
        """Of a generation: it does not pay for what another one gained."""
        self._credit = min(self._credit, START_CREDIT)

    def choose(self, kind: Kind, longest: int) -> tuple[int, float]:
        """How many tokens to guess, `longest` at most (0: none), and how many times as fast as without that would be."""
        if len(self._seconds) < STEPS:
            return 0, 1.0
        rate, source = self._rates[kind], kind[0]
        best, best_speed = 0, 1.0
        smallest = 0
        for size in SIZES:
            if size - 1 > longest or self._most(source, size) - 1 > self._credit:
                continue
            smallest = smallest or size - 1
            speed = (1 + rate.expected(size - 1)) / self._least(source, size)
            if speed > best_speed:
                best, best_speed = size - 1, speed
        if not best and smallest and rate.due(self._tokens):
            return smallest, 1.0
        return best, best_speed

    def one(self, seconds: float) -> None:
        """A step without guesses took so long."""
        self._seconds.append(seconds)
        self._second = _median(self._seconds)
        self._earn(1, 1.0)

    def several(self, kind: Kind, n: int, right: int, seconds: float, usual: bool = True) -> None:
        """A step with n guesses of which the first `right` were drawn took so long. usual: that the next will take as long."""
        key = kind[0], n + 1
        cost = seconds / self._second
        if usual:  # a single time says little on a machine that others use
            cost = min(cost, (1 + n) * (1 if kind[0] == "lookup" else 2))
            taken = self._taken.setdefault(key, deque(maxlen=8))
            taken.append(cost)
            cost = self._cost[key] = _median(taken)
        self._earn(1 + right, cost)
        self._rates[kind].add(n, right)

    def _earn(self, tokens: int, cost: float) -> None:
        self._credit = min(self._credit + tokens * (1 + SHARE) - cost, MOST_CREDIT)
        self._tokens += tokens
        if self._tokens >= self._forget:
            self._forget = self._tokens + FORGETS
            for key, taken in list(self._taken.items()):
                if len(taken) > 1:
                    taken.popleft()
                else:
                    taken[0] = (taken[0] + self._least(key[0], _SMALLER.get(key[1], 1))) / 2
                self._cost[key] = _median(taken)

    def _most(self, source: Source, size: int) -> float:
        """What a step of so many tokens costs or, never made, at most: as much as two of half the tokens."""
        if size == 1:
            return 1.0
        return self._cost.get((source, size)) or self._most(source, size // 2) + self._most(source, (size + 1) // 2)

    def _least(self, source: Source, size: int) -> float:
        """The same; but at least: as much as the next smaller one. So what was never made looks good, and is tried."""
        if size == 1:
            return 1.0
        return self._cost.get((source, size)) or self._least(source, _SMALLER[size])


class Drafter:
    """A draft model on one text: it holds a session of its own, and says greedily what comes next."""

    def __init__(self, model: Model, n_vocab: int) -> None:
        """n_vocab: of the model that checks its guesses."""
        self._engine = model.engine
        self._session = model.session()
        self._sampler = Sampling(temperature=0).sampler(model.n_vocab)
        self._n_vocab = n_vocab
        self._sure = 0  # the session's tokens that are the text's
        self._guessed: list[int] = []  # those after them
        self.read = 0  # tokens of the text that the last guess had to read

    def start(self, ids: Sequence[int]) -> None:
        """Reads another text, but for what the session holds of it already."""
        self._sure, self._guessed = 0, self._session.ids
        self.guess(ids, 1)

    def guess(self, ids: Sequence[int], n: int) -> list[int]:
        """The next n tokens of a text that goes on where the last one was; fewer where its vocabulary, its context or its memory
        ends."""
        self._sure = min(self._sure, len(ids) - 1)  # the last one is read again, for what comes after it
        for guessed, token in zip(self._guessed, ids[self._sure : -1], strict=False):
            if guessed != token:
                break
            self._sure += 1
        self._guessed = []
        self._session.rewind(self._sure)
        n = min(n, self._engine.context - len(ids))
        feed = np.array(ids[self._sure :], np.int32)
        self.read = len(feed)
        if n < 1 or feed.max() >= self._engine.n_vocab:
            return []
        guesses: list[int] = []
        sequence, most = self._session.sequence, self._engine.max_tokens
        try:
            while len(feed) > most:
                self._engine.step([(sequence, feed[:most], NONE)])
                feed = feed[most:]
            while len(guesses) < n:
                ((drawn, _, _),) = self._engine.step_and_sample([(sequence, feed, self._sampler, 0)])
                if drawn[0] >= self._n_vocab:
                    break
                guesses += drawn
                feed = np.array(drawn, np.int32)
        except (MemoryLimitError, MemoryError, NumericsError):
            return []  # the text is the other model's, and goes on without guesses
        self._sure, self._guessed = len(ids), guesses[:-1]
        return guesses


class Guesser:
    """Guesses for one text: call `guess`, make the step, tell what it drew by `drew`."""

    def __init__(self, speculation: Speculation, ids: Sequence[int], drafter: Drafter | None) -> None:
        self._pace, self._clock = speculation.pace, speculation.clock
        self._lookup = Lookup(ids)
        self._drafter = drafter
        self._kind: Kind = ("draft", 0)
        self._guesses: list[int] = []
        self._began = 0.0
        self._pace.start()
        if drafter is not None:
            drafter.start(self._lookup.ids)

    def guess(self, longest: int) -> list[int]:
        """At most so many of the next tokens; often none."""
        self._began = self._clock()
        n, speed, found = 0, 1.0, self._lookup.find()
        if found is not None:
            self._kind = ("lookup", found[0])
            n, speed = self._pace.choose(self._kind, longest)
        if self._drafter is not None:
            by_draft, draft_speed = self._pace.choose(("draft", 0), longest)
            if by_draft and (not n or draft_speed > speed):
                self._kind = ("draft", 0)
                self._guesses = self._drafter.guess(self._lookup.ids, by_draft)
                if not self._guesses:  # its context, or its memory, is full
                    self._drafter = None
                return self._guesses
        self._guesses = self._lookup.guess(found[1], n) if found is not None else []
        return self._guesses

    def drew(self, ids: Sequence[int]) -> None:
        """The step after `guess` has drawn these: one more than guesses were right."""
        seconds, n = self._clock() - self._began, len(self._guesses)
        if n:
            usual = self._kind[0] == "lookup" or self._drafter is None or self._drafter.read <= 4
            self._pace.several(self._kind, n, len(ids) - 1, seconds, usual)
        else:
            self._pace.one(seconds)
        for token in ids:
            self._lookup.push(token)


class Speculation:
    """What all generations of a model share: its pace, and a draft model, if there is one."""

    def __init__(
        self, n_vocab: int, draft: Model | None = None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.pace = Pace()
        self.clock = clock
        self._n_vocab = n_vocab
        self._draft = draft
        self._idle: deque[Drafter] = deque(maxlen=1)  # the next turn of a chat goes on from what it holds

    @contextmanager
    def guesser(self, ids: Sequence[int]) -> Iterator[Guesser]:
        """For a text of these ids, as long as it grows."""
        drafter = None
        if self._draft is not None:
            try:
                drafter = self._idle.pop()
            except IndexError:  # the first text, or another thread has it
                drafter = Drafter(self._draft, self._n_vocab)
        try:
            yield Guesser(self, ids, drafter)
        finally:
            if drafter is not None:
                self._idle.append(drafter)


def require_same_vocabulary(path: str, header: Mapping[str, Any], draft: str, draft_header: Mapping[str, Any]) -> None:
    """UnsupportedError unless the tokens of one file are the first, or all, of the other's: models of a family differ in what
    pads their vocabulary."""
    where = f"{printable(draft)}: no draft model for {printable(path)}"
    ours, theirs = (h.get("tokenizer.ggml.tokens") for h in (header, draft_header))
    if not isinstance(ours, Strings) or not isinstance(theirs, Strings):
        raise UnsupportedError(f"{where}: there are no tokens to compare")
    for i, (token, guessed) in enumerate(zip(ours[:], theirs[:], strict=False)):
        if token != guessed:
            raise UnsupportedError(f"{where}: token {i} is {shown(guessed)} and not {shown(token)}")


def _median(values: Iterable[float]) -> float:
    """Of an even number of values the lower one."""
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2]
