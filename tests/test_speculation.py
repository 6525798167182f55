"""Speculation: the same tokens, texts, log probabilities and sessions as without, whatever is guessed; and what it may cost."""

from __future__ import annotations

import dataclasses
import itertools
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_gguf

from pyruntime import Generation, Model, Sampling
from pyruntime.errors import MemoryLimitError, NumericsError, UnsupportedError
from pyruntime.memory_plan import MemoryPlan
from pyruntime.speculation import MOST_GUESSES, SHARE, SIZES, START_CREDIT, Lookup, Pace, Speculation

END = tiny_gguf.END
N = tiny_gguf.N_VOCAB
PROMPT = tiny_gguf.ids(20).tolist()
NEVER_ENDS = {END: float("-inf")}

SAMPLINGS = {
    "greedy": Sampling(temperature=0),
    "defaults": Sampling(seed=1),
    "warm": Sampling(temperature=1.5, top_k=0, top_p=0.99, seed=2),
    "penalties": Sampling(
        seed=3, repetition_penalty=1.3, presence_penalty=0.4, frequency_penalty=0.2, penalty_last_n=7
    ),
    "dry": Sampling(temperature=0, dry_multiplier=0.8, dry_allowed_length=1, seed=4),
    "mirostat": Sampling(mirostat=1, seed=5),
    "mirostat 2": Sampling(mirostat=2, mirostat_tau=3, seed=6),
    "xtc": Sampling(xtc_probability=0.5, xtc_threshold=0.05, seed=7),
    "typical": Sampling(typical_p=0.7, top_n_sigma=2, dynatemp_range=0.5, seed=8),
    "bias": Sampling(logit_bias={3: 2.0, END: 3.0}, repetition_penalty=1.1, penalty_last_n=-1, seed=9),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("speculation") / "tiny.gguf", "Q8_0")


@pytest.fixture(scope="module")
def plain(path: Path) -> Model:
    """Without speculation: what everything is compared to."""
    return Model(path, threads=1, context=1024, speculation=False)


@pytest.fixture
def model(path: Path) -> Iterator[Model]:
    with Model(path, threads=1, context=1024) as model:
        yield model
        assert model.engine.counters()["pages"] == 0


class Told:
    """In the place of a Speculation: guesses what it is told, each token wrong with a probability."""

    def __init__(self, text: Sequence[int], wrong: float = 0.0, most: int = 7, at: Callable[[int], None] | None = None):
        """text: prompt and answer. at: called with the number of the guess."""
        self._text, self._wrong, self._most, self._at = text, wrong, most, at
        self._random = random.Random(0)
        self._known = self._n = 0

    @contextmanager
    def guesser(self, ids: Sequence[int]) -> Iterator[Told]:
        self._known = len(ids)
        yield self

    def guess(self, longest: int) -> list[int]:
        self._n += 1
        if self._at is not None:
            self._at(self._n)
        guesses = self._text[self._known : self._known + min(self._most, longest)]
        return [(g + 1) % N if self._random.random() < self._wrong else g for g in guesses]

    def drew(self, ids: Sequence[int]) -> None:
        self._known += len(ids)


def told(model: Model, *args: Any, **options: Any) -> None:
    model.speculation = Told(*args, **options)  # type: ignore[assignment]


def eager(model: Model, draft: Model | None = None) -> Speculation:
    """The real one, by a clock for which every step takes as long, so that it guesses wherever it can."""
    return Speculation(model.n_vocab, draft, clock=itertools.count().__next__)


def without_timings(generation: Generation) -> dict[str, Any]:
    fields = dataclasses.asdict(generation)
    del fields["timings"], fields["seed"]
    return fields


def by_stream(model: Model, prompt: list[int], **options: Any) -> tuple[dict[str, Any], list[str], list[int], bytes]:
    """All that a generation leaves behind: its result, its pieces, the session's tokens, the logits of a further one."""
    with model.session() as session:
        stream = model.stream(prompt, session=session, **options)
        pieces = list(stream)
        assert len(session) == len(session.ids)
        held = session.ids
        return without_timings(stream.result), pieces, held, session.append([7]).tobytes()


# The same as without it


@pytest.mark.parametrize("name", SAMPLINGS)
def test_guesses_change_nothing(plain: Model, model: Model, name: str) -> None:
    """20 prompts for each of 10 samplings: by the text itself, and by guesses of which none, some or all are right."""
    real = eager(model)
    accepted, by_lookup = 0.0, 0.0
    for seed in range(20):
        prompt = tiny_gguf.ids(5 + seed, seed=seed % 7).tolist() * (1 + seed % 3)
        options = {"sampling": SAMPLINGS[name], "max_tokens": 40, "logprobs": (None, 0, 3)[seed % 3]}
        expected = by_stream(plain, prompt, **options)
        text = [*prompt, *expected[0]["ids"], END, *PROMPT]
        for wrong in (0.0, 0.2, 1.0):
            told(model, text, wrong)
            assert by_stream(model, prompt, **options) == expected, f"seed {seed}, {wrong} wrong"
        told(model, text, 0.2)
        accepted += model.generate(prompt, **options).timings["accepted_tokens"]
        model.speculation = real
        assert by_stream(model, prompt, **options) == expected, f"seed {seed}, from the text"
        by_lookup += model.generate(prompt, **options).timings["drafted_tokens"]
    assert accepted > 50, "guesses that are never right test nothing"
    assert by_lookup > 20, "the text itself must have given guesses"


def test_all_sizes_of_a_step(plain: Model, model: Model) -> None:
    options = {"sampling": SAMPLINGS["penalties"], "max_tokens": 60, "logprobs": 2}
    expected = by_stream(plain, PROMPT, **options)
    for most in range(1, 40):
        told(model, PROMPT + expected[0]["ids"], 0.1, most)
        assert by_stream(model, PROMPT, **options) == expected, f"{most} guesses"


def test_every_place_to_end(plain: Model, model: Model) -> None:
    """max_tokens, the end token and stop strings, each within a run of right guesses: what follows is not kept."""
    long = plain.generate(PROMPT, max_tokens=30, sampling=SAMPLINGS["greedy"])
    for n in range(1, 20):
        options: dict[str, Any] = {"max_tokens": n, "sampling": SAMPLINGS["greedy"]}
        told(model, PROMPT + long.ids)
        assert by_stream(model, PROMPT, **options) == by_stream(plain, PROMPT, **options)

        stop = {"stop": [long.text[n : n + 3]], "sampling": SAMPLINGS["greedy"], "max_tokens": 30}
        told(model, PROMPT + long.ids)
        found = by_stream(model, PROMPT, **stop)
        assert found == by_stream(plain, PROMPT, **stop)
        assert found[0]["finish_reason"] == "stop"


def test_the_end_token_within_a_run(plain: Model, model: Model) -> None:
    ended = 0
    for seed in range(30):
        options = {"temperature": 1.5, "seed": seed, "logit_bias": {END: 9.0}, "max_tokens": 20}
        expected = by_stream(plain, PROMPT, **options)
        result, _, held, _ = expected
        told(model, [*PROMPT, *result["ids"], END, *PROMPT])
        assert by_stream(model, PROMPT, **options) == expected
        if result["finish_reason"] == "stop" and len(result["ids"]) > 2:
            ended += 1
            assert held == PROMPT + result["ids"], "neither the end nor what was guessed behind it"
    assert ended > 5


def test_the_end_of_the_context(path: Path) -> None:
    options: dict[str, Any] = {"temperature": 0, "logit_bias": NEVER_ENDS}
    with Model(path, threads=1, context=64) as model:
        for n in (40, 62, 63):
            prompt = tiny_gguf.ids(n).tolist()
            model.speculation = None
            expected = model.generate(prompt, **options)
            told(model, prompt + expected.ids + PROMPT, most=30)
            found = model.generate(prompt, **options)
            assert without_timings(found) == without_timings(expected)
            assert (len(found.ids), found.finish_reason) == (64 - n, "length")


def test_several_texts_at_once(plain: Model, model: Model) -> None:
    """Guesses are made for the last one only, once it is alone."""
    prompts = [tiny_gguf.ids(n, seed=n).tolist() * 2 for n in (1, 30, 400, 64)]
    model.speculation = eager(model)
    for name in ("greedy", "penalties", "mirostat"):
        found, expected = (
            m.generate(prompts, max_tokens=30, sampling=SAMPLINGS[name], stop=["e"], logprobs=1) for m in (model, plain)
        )
        assert [without_timings(g) for g in found] == [without_timings(g) for g in expected]
        assert sum(g.timings["drafted_tokens"] > 0 for g in found) <= 1


def test_turns_of_a_chat(plain: Model, model: Model) -> None:
    model.speculation = eager(model)
    conversations = []
    for m in (plain, model):
        messages = [{"role": "user", "content": "that he"}]
        with m.session() as session:
            held = []
            for _ in range(4):
                answer = m.chat(messages, session=session, max_tokens=25, seed=5, temperature=0.6)
                held.append(session.ids)
                messages += [{"role": "assistant", "content": answer.text}, {"role": "user", "content": "that he"}]
            conversations.append((messages, held))
    assert conversations[0] == conversations[1]


def test_memory_for_guesses_that_is_not_there(path: Path, plain: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guesses would need a second page, the text itself does not: it goes on without them."""
    options: dict[str, Any] = {"temperature": 0, "logit_bias": NEVER_ENDS}
    prompt = tiny_gguf.ids(40).tolist()
    expected = plain.generate(prompt, max_tokens=25, **options)
    monkeypatch.setattr(MemoryPlan, "kv_limit", 2 * plain.engine.counters()["page_bytes"])
    with Model(path, threads=1, context=128) as model, model.session() as other:
        other.append(PROMPT)  # the other page
        told(model, prompt + expected.ids + PROMPT, most=3)
        guessed = model.generate(prompt, max_tokens=25, **options)
        assert guessed.ids == expected.ids
        told(model, prompt + [(i + 1) % N for i in expected.ids] + PROMPT, most=7)
        assert model.generate(prompt, max_tokens=25, **options).ids == expected.ids
        with pytest.raises(MemoryLimitError):
            model.generate(prompt, max_tokens=26, **options)


def test_a_guess_that_the_model_overflows_on(tmp_path: Path) -> None:
    """Its logits are not finite; the text never comes to it. It alone has a part in the first dimension of the model."""
    tensors = {name: tiny_gguf.random_weight(name, shape) for name, shape in tiny_gguf.SHAPES.items()}
    tensors["token_embd.weight"][:, 0] = np.eye(N, dtype=np.float32)[9]
    for layer in range(tiny_gguf.N_LAYERS):
        for name in ("attn_output", "ffn_down"):
            tensors[f"blk.{layer}.{name}.weight"][0] = 0
    tensors["blk.0.ffn_up.weight"][:, 0] = 3e38
    path = tiny_gguf.write(tmp_path / "overflows.gguf", "F32", tensors=tensors)
    options: dict[str, Any] = {"max_tokens": 10, "temperature": 0, "logit_bias": {9: float("-inf")}}
    prompt = [i for i in PROMPT if i != 9]
    with Model(path, threads=1) as model:
        with pytest.raises(NumericsError):
            model.logits([9])
        model.speculation = None
        expected = by_stream(model, prompt, **options)
        for right in (0, 1, 4):
            told(model, [*prompt, *expected[0]["ids"][: 1 + right], *([9] * 30)], most=3)
            assert by_stream(model, prompt, **options) == expected


def test_a_draw_that_fails_behind_right_guesses(plain: Model, model: Model) -> None:
    """Four tokens may be drawn, and none twice: the fifth draw fails, after the four came out."""
    only = {i: float("-inf") for i in range(N) if i not in (5, 6, 7, 8)}
    options: dict[str, Any] = {
        "logit_bias": only,
        "presence_penalty": 3e38,
        "frequency_penalty": 3e38,
        "temperature": 0,
    }
    outcomes = []
    for most in (0, 1, 2, 3, 7):
        order = outcomes[0][1][len(PROMPT) :] if outcomes else []
        told(model, PROMPT[:3] + order + PROMPT, most=most)
        with model.session() as session:
            stream = model.stream(PROMPT[:3], session=session, **options)
            pieces = []
            with pytest.raises(NumericsError) as failed:
                pieces.extend(stream)
            outcomes.append((session.ids, PROMPT + stream.result.ids, str(failed.value), stream.result.text))
        # The text may also end before the draw that fails.
        assert model.generate(PROMPT[:3], max_tokens=4, **options).ids == stream.result.ids
    assert all(outcome == outcomes[0] for outcome in outcomes)
    assert len(outcomes[0][1]) == len(PROMPT) + 4


# Where it is stopped


@pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
def test_a_stream_that_is_closed(plain: Model, model: Model, n: int) -> None:
    """In the middle of a run: the session holds what was taken, as if the rest had not been computed."""
    outcomes = []
    long = plain.generate(PROMPT, max_tokens=30, temperature=0)
    for m in (plain, model):
        told(model, PROMPT + long.ids)
        with m.session() as session:
            stream = m.stream(PROMPT, session=session, max_tokens=30, temperature=0)
            pieces = [next(stream) for _ in range(n)]
            stream.close()
            held = session.ids
            outcomes.append((pieces, without_timings(stream.result), held, session.append([7]).tobytes()))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("at", [1, 2, 3, 4])
@pytest.mark.parametrize("by_signal", [True, False], ids=["in the step", "before it"])
def test_ctrl_c(plain: Model, model: Model, at: int, by_signal: bool) -> None:
    long = plain.generate(PROMPT, max_tokens=30, temperature=0)

    def interrupt(n: int) -> None:
        if n == at and by_signal:
            signal.raise_signal(signal.SIGINT)
        elif n == at:
            raise KeyboardInterrupt

    told(model, PROMPT + long.ids, most=5, at=interrupt)
    with model.session() as session:
        stream = model.stream(PROMPT, session=session, max_tokens=30, temperature=0)
        with pytest.raises(KeyboardInterrupt):
            list(stream)
        result = stream.result
        assert result.finish_reason == "interrupted"
        assert result.ids == long.ids[: len(result.ids)]
        assert len(result.ids) == 1 + 6 * (at - 1)
        assert session.ids == (PROMPT + result.ids)[:-1]
        model.speculation = None
        again = model.stream(PROMPT + result.ids, session=session, max_tokens=30 - len(result.ids), temperature=0)
        list(again)
        assert result.ids + again.result.ids == long.ids


# That it does something


def test_a_text_that_repeats_itself_takes_fewer_steps(plain: Model, model: Model) -> None:
    """A bias makes the model say the same two tokens again and again."""
    repeats: dict[str, Any] = {
        "temperature": 0, "max_tokens": 100, "logit_bias": {3: 100.0, 4: 100.0}, "presence_penalty": 0.0,
        "repetition_penalty": 1.0,
    }  # fmt: skip
    model.speculation = eager(model)
    before = model.engine.counters()
    result = model.generate(PROMPT, **repeats)
    after = model.engine.counters()
    assert without_timings(result) == without_timings(plain.generate(PROMPT, **repeats))
    assert len(result.ids) == 100
    steps = after["steps"] - before["steps"]
    assert steps < 30
    drafted, accepted = result.timings["drafted_tokens"], result.timings["accepted_tokens"]
    assert after["tokens"] - before["tokens"] == len(PROMPT) + steps - 1 + drafted
    assert accepted == 100 - steps


def test_off_is_off(plain: Model) -> None:
    result = plain.generate([3, 4] * 20, max_tokens=20, temperature=0)
    assert (result.timings["drafted_tokens"], result.timings["accepted_tokens"]) == (0, 0)
    assert plain.speculation is None


def test_lookup_is_the_longest_match_and_the_latest() -> None:
    rng = random.Random(1)
    longest = 0
    for _ in range(200):
        start = rng.randrange(12)
        text = [rng.randrange(3) for _ in range(60)]
        lookup = Lookup(text[:start])
        for end in range(start, len(text)):
            known = text[:end]
            matches = [
                (n, at)
                for n in (4, 3, 2)
                for at in range(end - 1, n - 1, -1)
                if end > n and known[at - n : at] == known[end - n :]
            ]
            found = lookup.find()
            if not matches:
                assert found is None
            else:
                assert found is not None
                n, at = found
                assert at == matches[0][1], "the latest of the longest up to 4"
                while matches[0][0] <= n < 8 and n < at and known[at - n - 1] == known[end - n - 1]:
                    n += 1
                assert found[0] == n, "as far back as it goes, up to 8"
                longest = max(longest, n)
                guess = lookup.guess(at, 9)
                assert guess[: end - at] == known[at : at + 9]
                assert guess[end - at :] == guess[: max(0, 9 - (end - at))], "and around"
            lookup.push(text[end])
    assert longest == 8


# A draft model


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model of the same vocabulary, with rows that pad it."""
    wide = (N + 5, tiny_gguf.D_MODEL)
    tensors = {name: tiny_gguf.random_weight(name, wide, seed=1) for name in ("token_embd.weight", "output.weight")}
    return tiny_gguf.write(tmp_path_factory.mktemp("draft") / "other.gguf", "F32", tensors=tensors)


@pytest.mark.parametrize("which", ["the same", "another", "shorter context"])
def test_a_draft_model_changes_nothing(plain: Model, path: Path, other: Path, which: str) -> None:
    with (
        Model(
            other if which == "another" else path, threads=1, context=64 if which == "shorter context" else 1024
        ) as draft,
        Model(path, threads=1, context=1024, draft=draft) as model,
    ):
        model.speculation = eager(model, draft)
        for name in SAMPLINGS:
            for n in (3, 90):
                prompt = tiny_gguf.ids(n, seed=n).tolist()
                options = {"sampling": SAMPLINGS[name], "max_tokens": 25, "logprobs": 1}
                assert by_stream(model, prompt, **options) == by_stream(plain, prompt, **options)
        if which == "the same":
            before = model.engine.counters()["steps"]
            result = model.generate(PROMPT, temperature=0, max_tokens=64, logit_bias=NEVER_ENDS)
            assert model.engine.counters()["steps"] - before < 16, "each step takes what the draft model said"
            assert result.timings["accepted_tokens"] > 48


def test_a_draft_model_goes_on_from_turn_to_turn(path: Path) -> None:
    """Of the second question it reads what is new alone."""
    with Model(path, threads=1) as draft, Model(path, threads=1, draft=draft) as model:
        model.speculation = eager(model, draft)
        text = tiny_gguf.ids(300).tolist()
        model.generate(text[:280], max_tokens=3, temperature=0)
        before = draft.engine.counters()["tokens"]
        model.generate(text, max_tokens=2, temperature=0)
        assert draft.engine.counters()["tokens"] - before < 40


def test_a_draft_model_without_memory(path: Path, plain: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = tiny_gguf.ids(60).tolist()
    page = plain.engine.counters()["page_bytes"]
    with monkeypatch.context() as small:
        small.setattr(MemoryPlan, "kv_limit", 2 * page)
        draft = Model(path, threads=1, context=128)
    with draft, draft.session() as other, Model(path, threads=1, draft=draft) as model:
        other.append(PROMPT)
        model.speculation = eager(model, draft)
        assert by_stream(model, prompt, max_tokens=40, temperature=0) == by_stream(
            plain, prompt, max_tokens=40, temperature=0
        )


def test_what_is_no_draft_model(path: Path, tmp_path: Path, plain: Model) -> None:
    tokens = list(tiny_gguf.TOKENS)
    tokens[20], tokens[21] = tokens[21], tokens[20]
    stranger = tiny_gguf.write(tmp_path / "stranger.gguf", metadata={"tokenizer.ggml.tokens": tokens})
    with Model(stranger, threads=1) as draft, pytest.raises(UnsupportedError) as refused:
        Model(path, threads=1, draft=draft)
    message = str(refused.value)
    assert message.endswith(f"tiny.gguf: token 20 is {tokens[20]!r} and not {tokens[21]!r}")
    assert message.startswith(f"{stranger}: no draft model for ")
    assert "\n" not in message
    with pytest.raises(TypeError, match="draft must be a Model, not str"):
        Model(path, draft=str(path))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="speculation is off"):
        Model(path, draft=plain, speculation=False)


# What it may cost


class Machine:
    """Generates without a model: a step of n tokens takes cost(n), and guesses are right as `right` says."""

    def __init__(self, cost: Callable[[int], float], noise: float = 0.0) -> None:
        self.pace = Pace()
        self.seconds = self.guessed = 0.0
        self.tokens = 0
        self._cost = cost
        self._random = random.Random(3)
        self._noise = noise

    def run(self, tokens: int, right: Callable[[int], float], match: int = 8) -> float:
        """Seconds a token, of which a step of one takes 1. right(i): the probability that the i-th token is as guessed."""
        began, start = self.seconds, self.tokens
        self.pace.start()
        while self.tokens < start + tokens:
            n, _ = self.pace.choose(("lookup", match), MOST_GUESSES)
            n_right = next((i for i in range(n) if self._random.random() >= right(self.tokens + i)), n)
            seconds = self._cost(n + 1)
            seen = seconds * (1 + self._noise * self._random.expovariate(1))
            if n:
                self.pace.several(("lookup", match), n, n_right, seen)
            else:
                self.pace.one(seen)
            self.seconds += seconds
            self.guessed += n
            self.tokens += 1 + n_right
        return (self.seconds - began) / (self.tokens - start)


COSTS: dict[str, Callable[[int], float]] = {
    "memory": lambda n: 1 + 0.02 * (n - 1),
    "a kernel for up to four": lambda n: 1 + 0.03 * (n - 1) if n <= 4 else 2 + 0.08 * n,
    "half": lambda n: 0.5 + 0.5 * n,
    "arithmetic": lambda n: float(n),
}


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("noise", [0.0, 0.5], ids=["quiet", "busy"])
def test_what_guesses_may_cost(cost: str, noise: float) -> None:
    """Whatever is guessed: at most SHARE of the time, and START_CREDIT once."""
    texts: dict[str, Callable[[int], float]] = {
        "never right": lambda i: 0.0,
        "seldom": lambda i: 0.05,
        "a quarter": lambda i: 0.25,
        "by turns": lambda i: float(i // 40 % 2),
        "right until it is believed": lambda i: float(i < 200),
        "every second one": lambda i: float(i % 2),
    }
    for match in range(2, 9):
        for name, right in texts.items():
            machine = Machine(COSTS[cost], noise)
            tokens = 1000
            per_token = machine.run(tokens, right, match)
            limit = 1 + SHARE + START_CREDIT / tokens + (0.02 if noise else 0)
            assert per_token <= limit, f"{name}, match of {match}"


def test_failing_guesses_are_made_ever_more_seldom() -> None:
    machine = Machine(COSTS["memory"])
    shares = []
    for _ in range(4):
        before = machine.guessed
        machine.run(2000, lambda i: 0.0)
        shares.append(machine.guessed - before)
    assert 0 < shares[0] < 200
    assert shares[-1] <= 8, "a probe each 1,024 tokens"


@pytest.mark.parametrize(
    ("cost", "least"), [("memory", 8), ("a kernel for up to four", 3.5), ("half", 1.5), ("arithmetic", 0.98)]
)
def test_what_right_guesses_gain(cost: str, least: float) -> None:
    machine = Machine(COSTS[cost])
    machine.run(50, lambda i: 0.0)  # free chat before
    assert machine.run(1000, lambda i: 0.99) < 1 / least


def test_a_busy_moment_does_not_end_it() -> None:
    """While the first steps of a size are timed, something else takes the machine."""
    machine = Machine(COSTS["memory"])
    machine.pace.one(1.0)
    for size in SIZES:
        machine.pace.several(("lookup", 8), size - 1, size - 1, 100.0)
    machine.run(4000, lambda i: 0.99)
    assert machine.run(1000, lambda i: 0.99) < 0.3


# Real models


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct"])
def test_real_models(real_model: Callable[[str], Path], name: str) -> None:
    text = Path(__file__).read_text(encoding="utf-8")[:2000]
    works = (f"Repeat this text word by word:\n{text}", "Tell me a story about a dragon.")
    with Model(real_model(name), context=2048) as model:
        steps, tokens = 0, 0
        for work, sampling in itertools.product(
            works, (Sampling(temperature=0), Sampling(seed=1, repetition_penalty=1.05))
        ):
            results = []
            for speculation in (None, eager(model)):
                model.speculation = speculation
                before = model.engine.counters()["steps"]
                result = model.chat([{"role": "user", "content": work}], max_tokens=150, sampling=sampling, logprobs=2)
                results.append(without_timings(result))
            steps += model.engine.counters()["steps"] - before
            tokens += len(result.ids)
            assert results[0] == results[1]
        assert steps < 0.9 * tokens
