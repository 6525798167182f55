"""The sampler: ids equal to those of sampling_oracle.py, the rules one by one, the errors."""

from __future__ import annotations

import copy
import ctypes
import dataclasses
import itertools
import math
import os
import pickle
import platform

import numpy as np
import pytest
from sampling_oracle import F32, distribution, draw, exp32, oracle, random_bits, weights

from pyruntime import _core
from pyruntime.errors import NumericsError
from pyruntime.sampling import Sampling

OFF = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}


# The core against the oracle


def logits_like(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    x = rng.standard_normal(n) * 3
    if kind == "model":
        x[rng.integers(0, n, max(1, n // 100))] += 8
    elif kind == "ties":
        x = np.round(x)
    elif kind == "masked":
        x[rng.random(n) < 0.7] = -np.inf
        x[rng.integers(n)] = 1
    elif kind == "equal":
        x = np.full(n, -2.5)
    elif kind == "nearly equal":
        x = 1 + np.round(x) * 2.0**-23
    elif kind == "zeros":
        x = np.where(rng.random(n) < 0.5, 0.0, -0.0)
    elif kind == "extreme":
        x = np.clip(x * rng.choice([1e38, 1, 1e-30, 1e-44], n), -3.4e38, 3.4e38)
    elif kind == "ascending":
        x = np.sort(x)
    return x.astype(F32)


KINDS = ["model", "ties", "masked", "equal", "nearly equal", "zeros", "extreme", "ascending"]
PARAMETERS = [
    {"temperature": 0.0},
    {},
    {**OFF, "temperature": 1.0},
    {**OFF, "temperature": 0.3},
    {**OFF, "temperature": 5.0},
    {**OFF, "temperature": 1e-42},
    {**OFF, "top_k": 1},
    {**OFF, "top_k": 7},
    {**OFF, "top_k": 300},
    {**OFF, "top_p": 0.95},
    {**OFF, "top_p": 0.3, "temperature": 2.0},
    {**OFF, "top_p": 1e-9},
    {**OFF, "top_p": 0.999999},
    {**OFF, "min_p": 0.1},
    {**OFF, "min_p": 1.0},
    {"temperature": 1.7, "top_k": 100, "top_p": 0.9, "min_p": 0.001},
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 17, 1000])
def test_ids_equal_the_oracle(kind: str, n: int) -> None:
    rng = np.random.default_rng([KINDS.index(kind), n])
    for p in PARAMETERS:
        s = Sampling(seed=int(rng.integers(1 << 63)), **p)
        sampler = s.sampler(n, stream=3)
        for position in range(4):
            logits = logits_like(kind, n, rng)
            assert sampler.sample(logits, position) == oracle(s, logits, position, stream=3), p


@pytest.mark.parametrize("kind", KINDS)
def test_ids_equal_the_oracle_on_a_large_vocabulary(kind: str) -> None:
    rng = np.random.default_rng(5)
    logits = logits_like(kind, 50_000, rng)
    for p in (PARAMETERS[0], {}, {**OFF, "top_p": 0.9}, {"temperature": 3.0, "top_k": 3000, "top_p": 0.99}):
        s = Sampling(seed=11, **p)
        assert s.sampler(len(logits)).sample(logits, 9) == oracle(s, logits, 9), p


def test_thousands_of_draws_equal_the_oracle() -> None:
    rng = np.random.default_rng(6)
    logits = logits_like("model", 60, rng)
    for p in ({**OFF, "temperature": 1.5}, {"temperature": 1.5, "top_k": 30, "top_p": 0.9, "min_p": 0.01}):
        s = Sampling(seed=(1 << 64) - 5, **p)
        stream = (1 << 32) - 1
        sampler, (ids, sums) = s.sampler(len(logits), stream), distribution(s, logits, [])
        for position in itertools.chain(range(4000), range((1 << 32) - 20, (1 << 32) + 20), [(1 << 64) - 1]):
            assert sampler.sample(logits, position) == draw(ids, sums, (1 << 64) - 5, stream, position)


SECOND = next(p for p in range(100) if random_bits(1, 0, p) >> 63)  # this draw falls on the second of two equal weights


def stays(x: float, **rule: float) -> bool:
    """Whether the second of the logits [0, x] is left by a rule: at this temperature both then have weight 1."""
    sampler = Sampling(**{**OFF, **rule}, temperature=3e38, seed=1).sampler(2)
    return sampler.sample(np.array([0, x], F32), SECOND) == 1


def negative_logits(n: int) -> np.ndarray:
    rng = np.random.default_rng(7)
    return np.concatenate([-rng.uniform(0, 25, n), -rng.uniform(0, 1, n), [-87, -1e-30, -0.34657359]]).astype(F32)


def test_exp_has_the_bits_of_the_contract() -> None:
    """min_p compares with exp itself: at equality the token stays, one step of binary64 above it goes."""
    for x in negative_logits(300):
        e = float(exp32(x))
        assert stays(x, min_p=e)
        assert e == 1 or not stays(x, min_p=math.nextafter(e, 2))


def test_weights_are_the_integers_of_the_contract() -> None:
    """A top_p at which the first weight alone just reaches its share, and one step above it."""
    for x in negative_logits(300):
        first, second = weights(np.array([0, x], F32))
        for top_p in (first / (first + second), math.nextafter(first / (first + second), 2)):
            if top_p < 1:
                assert stays(x, top_p=top_p) == (top_p * float(first + second) > first)


def test_every_instruction_set_draws_the_same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = logits_like("model", 4001, np.random.default_rng(8))
    s = Sampling(temperature=1.3, top_k=0, top_p=0.99, min_p=0.001, seed=12)
    expected = [oracle(s, logits, position) for position in range(20)]
    tried = []
    for isa in ("scalar", "avx2", "avx_vnni", "avx512_vnni", "neon_dotprod", "neon_i8mm"):
        monkeypatch.setenv("PYRUNTIME_ISA", isa)
        try:
            sampler = s.sampler(len(logits))
        except Exception as e:  # the ones that this machine does not have
            assert type(e).__name__ == "UnsupportedError"  # noqa: PT017
            continue
        assert [sampler.sample(logits, position) for position in range(20)] == expected
        tried.append(isa)
    assert "scalar" in tried


@pytest.mark.skipif(platform.machine() != "x86_64" or os.name != "posix", reason="the constant is x86-64's")
def test_the_callers_rounding_mode_does_not_matter() -> None:
    libc, upward = ctypes.CDLL(None), 0x800
    cases = [(x, float(exp32(x))) for x in negative_logits(20)]
    above = [math.nextafter(e, 1) for _, e in cases]
    libc.fesetround(upward)
    try:
        got = [stays(x, min_p=e) and (e == 1 or not stays(x, min_p=a)) for (x, e), a in zip(cases, above, strict=True)]
        assert libc.fegetround() == upward  # the caller gets its own back
    finally:
        libc.fesetround(0)
    assert all(got)


def test_distribution() -> None:
    """Chi-square of 40,000 draws against exact probabilities, at a fixed seed."""
    logits = np.array([2.0, -1.0, 0.5, 1.5, 0.0, -3.0, 1.0, 2.5], F32)
    sampler = Sampling(**OFF, temperature=1.25, seed=99).sampler(len(logits))
    n = 40_000
    seen = np.bincount([sampler.sample(logits, position) for position in range(n)], minlength=len(logits))
    p = np.exp(logits.astype(np.float64) / 1.25)
    expected = n * p / p.sum()
    assert ((seen - expected) ** 2 / expected).sum() < 24.3  # 99.9 % of 7 degrees of freedom


# Rules


def test_greedy_takes_the_lower_of_equal_ids() -> None:
    for n in (2, 17, 5000):
        logits = np.full(n, -1, F32)
        logits[[n // 2, n - 1]] = 3
        assert Sampling(temperature=0).sampler(n).sample(logits, 0) == n // 2
    assert Sampling(temperature=0).sampler(2).sample(np.array([-0.0, 0.0], F32), 0) == 0
    assert Sampling(temperature=1e-60).sampler(3).sample(np.array([1, 2, 2], F32), 0) == 1  # rounds to 0


def test_ties_at_the_cut_keep_the_lower_ids() -> None:
    logits = np.array([1, 0, 1, 1, 1], F32)
    for p, kept in (
        ({"top_k": 2}, {0, 2}),
        ({"top_p": 0.6}, {0, 2, 3}),
        ({"top_p": 0.01}, {0}),
        ({"min_p": 1.0}, {0, 2, 3, 4}),
    ):
        sampler = Sampling(**{**OFF, **p}, temperature=9, seed=2).sampler(5)
        assert {sampler.sample(logits, position) for position in range(200)} == kept


def test_masked_tokens_are_never_drawn() -> None:
    logits = np.full(300, -np.inf, F32)
    logits[[7, 200]] = -3e38
    for p in PARAMETERS:
        sampler = Sampling(seed=3, **p).sampler(300)
        assert {sampler.sample(logits, position) for position in range(40)} <= {7, 200}


def test_logit_bias() -> None:
    logits = np.array([3, 2, 1], F32)
    assert Sampling(temperature=0, logit_bias={0: -math.inf}).sampler(3).sample(logits, 0) == 1
    assert Sampling(temperature=0, logit_bias={2: 2.5, 1: 0.5}).sampler(3).sample(logits, 0) == 2
    s = Sampling(**OFF, seed=4, logit_bias={0: -math.inf, 2: 0.25})
    sampler = s.sampler(3)
    assert all(sampler.sample(logits, position) == oracle(s, logits, position) for position in range(100))
    assert logits.tolist() == [3, 2, 1]  # not modified


PENALTIES = [
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.5},
    {"presence_penalty": 0.7},
    {"frequency_penalty": 0.4},
    {"frequency_penalty": -0.2, "presence_penalty": -0.1},
    {
        "repetition_penalty": 1.1,
        "presence_penalty": 0.3,
        "frequency_penalty": 0.2,
        "logit_bias": {1: 0.3, 5: -math.inf},
    },
]


@pytest.mark.parametrize("last_n", [0, 1, 3, 64, -1])
@pytest.mark.parametrize("p", PENALTIES)
def test_penalties_equal_the_oracle(p: dict, last_n: int) -> None:
    rng = np.random.default_rng(9)
    prompt = rng.integers(0, 12, 20).tolist()
    for temperature in (0, 1.1):
        s = Sampling(temperature=temperature, top_p=0.97, seed=21, penalty_last_n=last_n, **p)
        sampler, history = s.sampler(12), list(prompt)
        sampler.accept_all(prompt)
        for position in range(len(prompt), len(prompt) + 90):
            if position % 30 == 0:
                sampler.reset()
                sampler.accept_all(history)
            logits = logits_like(("ties", "model")[position % 2], 12, rng)
            token = sampler.sample(logits, position)
            assert token == oracle(s, logits, position, history=history)
            sampler.accept(token)
            history.append(token)


def test_a_repeated_logit_is_divided_above_0_and_multiplied_below() -> None:
    for first, second in ((0.5, 0.45), (-0.5, -0.55)):
        sampler = Sampling(temperature=0, repetition_penalty=1.3).sampler(2)
        sampler.accept(0)
        assert sampler.sample(np.array([first, second], F32), 1) == 1


def test_the_window_forgets() -> None:
    logits = np.array([1, 0.9], F32)
    sampler = Sampling(temperature=0, presence_penalty=1, penalty_last_n=2).sampler(2)
    sampler.accept(0)
    assert sampler.sample(logits, 1) == 1
    sampler.accept_all(np.array([1, 1]))
    assert sampler.sample(logits, 3) == 0
    sampler.accept(0)
    assert sampler.sample(logits, 4) == 0  # both are in the window


def test_a_draw_depends_on_seed_stream_and_position_alone() -> None:
    rng = np.random.default_rng(10)
    rows = [logits_like("model", 500, rng) for _ in range(40)]
    s = Sampling(temperature=2.0, top_k=0, seed=5)
    alone = s.sampler(500, stream=1)
    forwards = [alone.sample(row, i) for i, row in enumerate(rows)]
    other, again = s.sampler(500, stream=2), s.sampler(500, stream=1)
    backwards, others = [0] * len(rows), []
    for i in reversed(range(len(rows))):
        others.append(other.sample(rows[i], i))
        backwards[i] = again.sample(rows[i], i)
    assert backwards == forwards
    assert others[::-1] != forwards
    assert [
        Sampling(temperature=2.0, top_k=0, seed=6).sampler(500, stream=1).sample(r, i) for i, r in enumerate(rows)
    ] != forwards


# Parameters and errors

BAD = [
    ("temperature", [-0.1, math.nan, math.inf, 1e39, "1"]),
    ("top_k", [-1, 1.5, None]),
    ("top_p", [0, -0.5, 1.0001, math.nan]),
    ("min_p", [-0.01, 1.01, math.nan]),
    ("repetition_penalty", [0, -1, math.nan, math.inf, 1e-60]),
    ("presence_penalty", [math.nan, math.inf, 1e39]),
    ("frequency_penalty", [math.nan, -math.inf]),
    ("penalty_last_n", [-2, (1 << 20) + 1, 1.5]),
    ("logit_bias", [{-1: 1.0}, {0: math.nan}, {0: math.inf}, {0: -1e39}, {"a": 1.0}]),
    ("seed", [-1, 1 << 64, 1.5]),
    ("typical_p", [0, 1.01, math.nan]),
    ("top_n_sigma", [-1, math.nan, math.inf]),
    ("xtc_probability", [-0.1, 1.1, math.nan]),
    ("xtc_threshold", [-0.1, 1.1]),
    ("dynatemp_range", [-1, math.inf]),
    ("dynatemp_exponent", [0, math.nan]),
    ("mirostat", [-1, 3, 1.5]),
    ("mirostat_tau", [-1, math.inf]),
    ("mirostat_eta", [-0.1, 1.1]),
    ("dry_multiplier", [-1, math.nan]),
    ("dry_base", [0.99, math.inf]),
    ("dry_allowed_length", [0, 1.5]),
    ("dry_penalty_last_n", [-2, (1 << 20) + 1]),
]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD for value in values])
def test_bad_parameters_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be "):
        Sampling(**{name: value})
    good = {f.name: f.default for f in dataclasses.fields(Sampling) if f.name != "dry_sequence_breakers"}
    good |= {"dry_breakers": [], "logit_bias": {}, "seed": 0, "stream": 0}
    with pytest.raises((ValueError, TypeError), match=name):  # the core by itself; TypeError lists the names
        _core.Sampler(8, **{**good, name: value})


def test_ids_beyond_the_vocabulary_are_refused() -> None:
    with pytest.raises(ValueError, match="logit_bias must be of ids below n_vocab 8, not 8"):
        Sampling(logit_bias={8: 1.0}).sampler(8)
    sampler = Sampling().sampler(8)
    for token in (-1, 8):
        with pytest.raises(ValueError, match="id must be between 0 and 7"):
            sampler.accept(token)
    for n_vocab in (0, -1, (1 << 22) + 1):
        with pytest.raises(ValueError, match="n_vocab must be"):
            Sampling().sampler(n_vocab)


@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize("where", [0, 1234, 2999])
@pytest.mark.parametrize(("value", "word"), [(math.nan, "NaN"), (-math.nan, "NaN"), (math.inf, "infinite")])
def test_logits_that_are_not_finite_raise(temperature: float, where: int, value: float, word: str) -> None:
    logits = np.zeros(3000, F32)
    logits[where] = value
    with pytest.raises(NumericsError, match=f"token {where} is {word}"):
        Sampling(temperature=temperature).sampler(3000).sample(logits, 0)


def test_no_token_left_raises() -> None:
    with pytest.raises(NumericsError, match="every logit is -infinity"):
        Sampling().sampler(9).sample(np.full(9, -np.inf, F32), 0)
    with pytest.raises(NumericsError, match="every logit is -infinity"):
        Sampling(temperature=0, logit_bias={0: -math.inf}).sampler(1).sample(np.zeros(1, F32), 0)
    with pytest.raises(NumericsError, match="token 1 is infinite"):
        Sampling(logit_bias={1: 3e38}).sampler(2).sample(np.full(2, 3e38, F32), 0)


def test_logits_of_another_shape_or_type_are_refused() -> None:
    sampler = Sampling().sampler(4)
    for logits in (np.zeros(3, F32), np.zeros((1, 4), F32), np.frombuffer(bytes(17), F32, 4, 1)):
        with pytest.raises(ValueError, match="logits must"):
            sampler.sample(logits, 0)
    for logits in (np.zeros(4), np.zeros(8, F32)[::2], [0.0] * 4):
        with pytest.raises(TypeError):
            sampler.sample(logits, 0)
    with pytest.raises(TypeError):
        sampler.sample(np.zeros(4, F32), -1)


def test_seed_none_draws_a_fresh_one_and_reports_it() -> None:
    logits = np.zeros(100, F32)
    drawn = [Sampling(**OFF).sampler(100) for _ in range(3)]
    assert len({s.seed for s in drawn}) == 3
    again = Sampling(**OFF, seed=drawn[0].seed).sampler(100)
    assert [again.sample(logits, i) for i in range(9)] == [drawn[0].sample(logits, i) for i in range(9)]
    s = Sampling().with_seed()
    assert s.seed is not None
    assert s.with_seed() is s
    assert s.sampler(10, stream=4).seed == s.seed
    assert s.sampler(10, stream=4).stream == 4


def test_sampling_is_a_value() -> None:
    biases = {1: 2.0}
    s = Sampling(logit_bias=biases, seed=1)
    biases[1] = 3.0
    assert s.logit_bias == {1: 2.0}
    assert s == copy.deepcopy(s) == pickle.loads(pickle.dumps(s))  # noqa: S301
    assert hash(s) == hash(Sampling(logit_bias={1: 2.0}, seed=1))
    with pytest.raises(AttributeError):
        s.seed = 2  # type: ignore[misc]
    assert Sampling(temperature=np.float32(0.5), top_k=np.int64(3)) == Sampling(temperature=0.5, top_k=3)  # type: ignore[arg-type]
