"""The rules beyond test_sampler.py's: DRY, top-n-sigma, typical, XTC, dynamic temperature, mirostat; log probabilities."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tiny_gguf
from sampling_oracle import F32, distribution, draw, dry_lengths, logprobs, next_mu, oracle
from test_sampler import KINDS, OFF, logits_like

from pyruntime import _core
from pyruntime.dry_breakers import breaker_sequences
from pyruntime.sampling import Sampling
from pyruntime.tokenizer import Tokenizer

RULES = [
    {**OFF, "typical_p": 0.9},
    {**OFF, "typical_p": 0.2, "temperature": 0.5},
    {**OFF, "typical_p": 1e-9},
    {"typical_p": 0.7},
    {**OFF, "top_n_sigma": 1.0},
    {**OFF, "top_n_sigma": 0.1, "temperature": 2.0},
    {"top_n_sigma": 2.0, "top_k": 5},
    {**OFF, "xtc_probability": 1.0, "xtc_threshold": 0.0},
    {**OFF, "xtc_probability": 0.5, "xtc_threshold": 0.05, "temperature": 1.5},
    {"xtc_probability": 1.0, "xtc_threshold": 0.02, "temperature": 0.2},
    {**OFF, "dynatemp_range": 0.5},
    {**OFF, "dynatemp_range": 2.0, "dynatemp_exponent": 0.3},
    {"temperature": 0.5, "dynatemp_range": 0.5, "dynatemp_exponent": 3e38},
    {**OFF, "temperature": 3e38, "dynatemp_range": 3e38},
    {"typical_p": 0.9, "top_n_sigma": 3.0, "xtc_probability": 0.7, "dynatemp_range": 0.3, "temperature": 1.3},
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 17, 1000])
def test_ids_equal_the_oracle(kind: str, n: int) -> None:
    rng = np.random.default_rng([KINDS.index(kind), n, 2])
    for p in RULES:
        s = Sampling(seed=int(rng.integers(1 << 63)), **p)
        sampler = s.sampler(n, stream=3)
        for position in range(6):
            logits = logits_like(kind, n, rng)
            assert sampler.sample(logits, position) == oracle(s, logits, position, stream=3), p


@pytest.mark.parametrize("kind", KINDS)
def test_ids_equal_the_oracle_on_a_large_vocabulary(kind: str) -> None:
    logits = logits_like(kind, 50_000, np.random.default_rng(15))
    for p in (RULES[0], RULES[4], RULES[8], RULES[10]):
        s = Sampling(seed=11, **p)
        assert s.sampler(len(logits)).sample(logits, 9) == oracle(s, logits, 9), p


def drawn(logits: Sequence[float], **options: object) -> set[int]:
    """What 400 draws at a high temperature give: every candidate that is left."""
    sampler = Sampling(**{**OFF, "temperature": 9.0, "seed": 1, **options}).sampler(len(logits))
    return {sampler.sample(np.array(logits, F32), position) for position in range(400)}


def log(*probabilities: float) -> list[float]:
    return [math.log(p) for p in probabilities]


# The rules by what their papers say, in float64


def test_typical_keeps_what_is_nearest_to_the_entropy() -> None:
    rng = np.random.default_rng(16)
    for _ in range(30):
        p = rng.dirichlet(np.full(12, 0.5)) + 1e-9
        p /= p.sum()
        entropy = -(p * np.log(p)).sum()
        order = np.argsort(np.abs(-np.log(p) - entropy))
        kept = order[: int((np.cumsum(p[order]) < 0.6).sum()) + 1]
        assert drawn(log(*p), typical_p=0.6, temperature=1e4) == set(kept.tolist())


def test_typical_may_drop_the_likeliest_token() -> None:
    assert 0 not in drawn(log(0.4, *[0.6 / 60] * 60), typical_p=0.5)


def test_top_n_sigma_keeps_what_is_near_the_largest() -> None:
    rng = np.random.default_rng(17)
    for sigmas in (0.3, 1.0, 2.5):
        x = rng.standard_normal(40)
        kept = np.flatnonzero(x.astype(F32) >= x.astype(F32).max() - sigmas * x.astype(F32).astype(np.float64).std())
        assert drawn(x.tolist(), top_n_sigma=sigmas, temperature=1e4) == set(kept.tolist())
    assert drawn([1, -math.inf, 1, 0.5], top_n_sigma=1.0) == {0, 2}  # a banned token has no part in the spread


def test_xtc_drops_all_top_choices_but_the_last() -> None:
    p = log(0.3, 0.05, 0.4, 0.25)
    assert drawn(p, xtc_probability=1.0, xtc_threshold=0.2) == {1, 3}
    assert drawn(p, xtc_probability=1.0, xtc_threshold=0.35) == {0, 1, 2, 3}  # one top choice alone stays
    assert drawn(p, xtc_probability=1.0, xtc_threshold=0.6) == {0, 1, 2, 3}
    assert drawn([1.0, 1.0, 0.0, 1.0], xtc_probability=1.0, xtc_threshold=0.2) == {2, 3}  # of equals the highest id


def test_xtc_acts_as_often_as_it_is_told() -> None:
    logits = np.array(log(0.9, 0.1), F32)
    n = 20_000
    sampler = Sampling(**OFF, temperature=1e-3, seed=7, xtc_probability=0.3, xtc_threshold=0.05).sampler(2)
    acted = sum(sampler.sample(logits, position) for position in range(n))
    assert abs(acted / n - 0.3) < 4 * (0.3 * 0.7 / n) ** 0.5


def test_dynamic_temperature_follows_the_entropy() -> None:
    """Certain: temperature - range; all alike: temperature + range. Told by how often the second token comes."""
    for second, expected in ((-12.0, 0.5), (0.0, 1.5)):
        logits = np.array([0.0, second], F32)
        s = Sampling(**OFF, temperature=1.0, dynatemp_range=0.5, seed=3)
        sums = distribution(s, logits, [])[1]
        share = (sums[1] - sums[0]) / sums[1]
        assert share == pytest.approx(1 / (1 + math.exp(-second / expected)), rel=0.1)
    s = Sampling(**OFF, temperature=0.5, dynatemp_range=0.5, seed=3)
    assert {s.sampler(2).sample(np.array([0, 80], F32), i) for i in range(50)} == {1}  # 0: the likeliest


# DRY


def core(s: Sampling, n_vocab: int, breakers: list[list[int]]) -> _core.Sampler:
    """The sampler, with breakers given as ids."""
    parameters = dataclasses.asdict(s) | {"dry_breakers": breakers, "logit_bias": s.logit_bias or {}}
    del parameters["dry_sequence_breakers"]
    return _core.Sampler(n_vocab, stream=0, **parameters)


BREAKERS: list[list[list[int]]] = [[], [[2]], [[0], [3, 1]], [[1, 1], [2, 0, 1]]]


@pytest.mark.parametrize("breakers", BREAKERS)
@pytest.mark.parametrize("last_n", [0, 1, 7, 40, -1])
@pytest.mark.parametrize("allowed", [1, 2, 5])
def test_dry_equals_the_oracle(breakers: list[list[int]], last_n: int, allowed: int) -> None:
    """Texts of four tokens, which repeat themselves all the time; forced ones between those drawn, and resets."""
    rng = np.random.default_rng([18, last_n + 1, allowed])
    options = {"dry_multiplier": 0.3, "dry_base": 1.2, "dry_allowed_length": allowed, "dry_penalty_last_n": last_n}
    for temperature in (0.0, 1.0):
        s = Sampling(**OFF, temperature=temperature, seed=4, logit_bias={4: -math.inf}, **options)
        sampler = core(s, 5, breakers)
        history = (rng.integers(0, 4, 9).tolist() * 4)[:30]
        sampler.accept_all(history)
        lengths = set()
        for position in range(len(history), len(history) + 60):
            if position % 25 == 0:
                sampler.reset()
                del history[-5:]
                sampler.accept_all(history)
            logits = (rng.standard_normal(5) * 0.5).astype(F32)
            lengths |= set(dry_lengths(s, history, breakers).values())
            token = sampler.sample(logits, position)
            assert token == oracle(s, logits, position, history=history, breakers=breakers)
            history.append(history[-9] if rng.random() < 0.7 else token)
            sampler.accept(history[-1])
        assert len(lengths) > 3 or breakers or last_n in (0, 1, 7)


def is_penalized_by(amount: float, history: list[int], token: int, **options: object) -> bool:
    """Whether the token loses about so much: it comes before one that is a bit more behind, not before one a bit less."""
    s = Sampling(temperature=0, seed=0, dry_multiplier=0.8, **options)
    other, found = 9, []
    for behind in (amount + 0.01, amount - 0.01):
        sampler = core(s, 10, [[8]])
        sampler.accept_all(history)
        logits = np.full(10, -1e6, F32)
        logits[[token, other]] = 0, -behind
        found.append(sampler.sample(logits, 0) == token)
    return found == [True, False]


def test_dry_by_example() -> None:
    text = [1, 2, 3, 4, 5, 1, 2, 3]
    assert is_penalized_by(0.8 * 1.75, text, 4)  # three ids long, two are allowed
    assert is_penalized_by(0.8 * 1.75**2, text, 4, dry_allowed_length=1)
    assert is_penalized_by(0.8 * 3, text, 4, dry_base=3)
    assert is_penalized_by(0.8, [6, 1, 2, 3, 4, 7, 2, 3], 4)
    assert is_penalized_by(0.8 * 1.75**3, [0, 1, 1, 1, 1, 1, 1], 1)  # a run: it overlaps itself
    for history, token in (
        (text, 5),  # followed something else
        ([1, 2, 3, 8, 5, 1, 2, 3], 8),  # a breaker itself is free
        ([1, 2, 3, 4, 5, 1, 8, 3], 4),  # one id long, after the breaker
        ([3, 4, 5, 1, 3], 4),  # one id long
    ):
        assert is_penalized_by(0.0, history, token), history


def test_dry_never_bans_a_token() -> None:
    s = Sampling(temperature=0, seed=0, dry_multiplier=3e38, dry_base=3e38)
    sampler = core(s, 1, [])
    sampler.accept_all([0] * 1000)
    for logit in (-3.4e38, 0, 3.4e38):
        assert sampler.sample(np.array([logit], F32), 0) == 0


def test_breakers_are_found_in_the_tokens(tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / "tiny.gguf")
    t = Tokenizer.from_gguf(str(path))
    sequences = breaker_sequences(t, ("the", "\n"))
    assert [t.id_of("Ċ")] in sequences
    assert [t.id_of("the")] in sequences
    for i in range(t.n_vocab):
        text = t.decode_bytes([i], at_start=False)
        assert ([i] in sequences) == (b"the" in text or b"\n" in text), text
    assert [t.id_of("at"), t.id_of("he")] in sequences
    assert [t.id_of("Ġt"), t.id_of("he")] in sequences
    assert [t.id_of("th"), t.id_of("e")] in sequences
    assert all("the" in t.decode(s) or "\n" in t.decode(s) for s in sequences)
    assert breaker_sequences(t, ("the", "\n")) is sequences
    assert breaker_sequences(t, ("é",)) == [t.encode("é", add_special=False)]  # two tokens, of a byte each


def test_breakers_need_a_tokenizer() -> None:
    with pytest.raises(ValueError, match="dry_sequence_breakers need a tokenizer"):
        Sampling(dry_multiplier=1).sampler(9)
    Sampling(dry_multiplier=1, dry_sequence_breakers=[]).sampler(9)
    for wrong in ("ab", ["a", ""], [1], 5):
        with pytest.raises(ValueError, match="dry_sequence_breakers must be a list of texts that are not empty"):
            Sampling(dry_sequence_breakers=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dry_breakers must be of ids below n_vocab 9, not 9"):
        core(Sampling(seed=0, dry_multiplier=1), 9, [[3, 9]])
    with pytest.raises(ValueError, match="dry_breakers must be sequences of at least one id"):
        core(Sampling(seed=0, dry_multiplier=1), 9, [[]])


# Mirostat


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_mirostat_equals_the_oracle(version: int, kind: str) -> None:
    rng = np.random.default_rng([KINDS.index(kind), 19])
    for n, tau, eta, temperature in (
        (1, 5.0, 0.1, 1.0),
        (2, 0.3, 1.0, 0.7),
        (400, 3.0, 0.5, 1.5),
        (400, 0.0, 1.0, 1.0),
    ):
        s = Sampling(mirostat=version, mirostat_tau=tau, mirostat_eta=eta, temperature=temperature, seed=20)
        sampler, mu = s.sampler(n), 2 * tau
        for position in range(12):
            logits = logits_like(kind, n, rng)
            ids, sums = distribution(s, logits, [], mu=mu)
            token = draw(ids, sums, 20, 0, position)
            assert sampler.sample(logits, position) == token
            if position % 5 == 4:  # another token was taken in its place: nothing is learnt
                sampler.accept((token + 1) % n)
                mu = next_mu(s, mu, token, ids, sums) if n == 1 else mu
            else:
                sampler.accept(token)
                mu = next_mu(s, mu, token, ids, sums)
            if position == 8:
                sampler.reset()
                mu = 2 * tau


@pytest.mark.parametrize("version", [1, 2])
def test_mirostat_keeps_the_surprise_near_tau(version: int) -> None:
    """Of logits whose own surprise is far above it, on Zipf's law: the mean of what is drawn comes within a tenth."""
    logits = (-1.1 * np.log(np.arange(1, 5001))).astype(F32)
    for tau in (2.0, 4.0):
        s = Sampling(mirostat=version, mirostat_tau=tau, mirostat_eta=0.1, temperature=1, seed=21)
        sampler, mu, surprises = s.sampler(len(logits)), 2 * tau, []
        for position in range(1200):
            token = sampler.sample(logits, position)
            sampler.accept(token)
            if position % 4 == 0 or position < 200:
                continue
            surprises.append(token)
        p = np.exp(logits.astype(np.float64))
        kept = p[: max(surprises) + 1] / p[: max(surprises) + 1].sum()
        assert np.mean(-np.log2(kept[surprises])) == pytest.approx(tau, rel=0.2), mu


def test_mirostat_takes_the_place_of_the_other_rules() -> None:
    logits = np.random.default_rng(22).standard_normal(300).astype(F32)
    plain = Sampling(mirostat=2, temperature=1.4, seed=23)
    others = Sampling(
        mirostat=2, temperature=1.4, seed=23, top_k=1, top_p=0.1, min_p=0.9, typical_p=0.1, top_n_sigma=0.1,
        xtc_probability=1, dynatemp_range=1,
    )  # fmt: skip
    a, b = plain.sampler(300), others.sampler(300)
    drawn = [a.sample(logits, i) for i in range(50)]
    assert drawn == [b.sample(logits, i) for i in range(50)]
    assert len(set(drawn)) > 10
    greedy = Sampling(mirostat=2, temperature=0, seed=0).sampler(300)
    assert greedy.sample(logits, 0) == logits.argmax()


def test_sampling_twice_does_not_move_mirostat() -> None:
    logits = logits_like("model", 300, np.random.default_rng(24))
    s = Sampling(mirostat=2, mirostat_tau=2, mirostat_eta=1, seed=25)
    once, twice = s.sampler(300), s.sampler(300)
    for position in range(30):
        twice.sample(logits, position + 1000)
        token = once.sample(logits, position)
        assert twice.sample(logits, position) == token
        once.accept(token)
        twice.accept(token)


# Log probabilities


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 17, 5000])
def test_log_probabilities(kind: str, n: int) -> None:
    """The bits of the contract, and within 3e-7 of float64; of the logits as they are, whatever is sampled from them."""
    rng = np.random.default_rng([KINDS.index(kind), n, 3])
    for p in ({"temperature": 0.0}, {}, {"mirostat": 2}, {"temperature": 3.0, "logit_bias": {0: -1e30}, "top_k": 0}):
        sampler = Sampling(seed=26, **p).sampler(n, top_logprobs=min(n, 7))
        assert sampler.logprobs is not None
        for position in range(3):
            logits = logits_like(kind, n, rng)
            token = sampler.sample(logits, position)
            chosen, top = sampler.logprobs
            expected = logprobs(logits)
            order = [i for i in np.lexsort((np.arange(n), -logits))[:7] if logits[i] > -np.inf]
            assert chosen == (token, expected[token])
            assert top == [(i, expected[i]) for i in order]
            wide = logits.astype(np.float64) - float(logits.max())
            exact = wide - np.log(np.exp(wide).sum())
            assert abs(chosen[1] - exact[token]) < 3e-7


def test_log_probabilities_are_computed_where_they_are_asked_for() -> None:
    logits = np.array([0, math.log(3)], F32)
    plain, chosen = Sampling().sampler(2), Sampling(temperature=0).sampler(2, top_logprobs=0)
    plain.sample(logits, 0)
    chosen.sample(logits, 0)
    assert plain.logprobs is None
    assert chosen.logprobs == ((1, pytest.approx(math.log(0.75), abs=1e-7)), [])
    for wrong in (-1, 3):
        with pytest.raises(ValueError, match="top_logprobs must be between 0 and 2"):
            Sampling().sampler(2, top_logprobs=wrong)


@pytest.mark.parametrize("options", [*RULES, {"mirostat": 1}, {"mirostat": 2}])
def test_every_instruction_set_draws_the_same_ids(options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = logits_like("model", 4001, np.random.default_rng(27))
    results = {}
    for isa in _core.available_isas():
        monkeypatch.setenv("PYRUNTIME_ISA", isa)
        sampler = Sampling(seed=28, **options).sampler(len(logits), top_logprobs=3)
        found = []
        for position in range(20):
            found.append((sampler.sample(logits, position), sampler.logprobs))
            sampler.accept(found[-1][0])
        results[isa] = found
    assert "scalar" in results
    assert all(found == results["scalar"] for found in results.values())
