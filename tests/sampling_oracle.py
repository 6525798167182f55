"""docs/numerics.md, "Sampling", written a second time, in NumPy and Python integers: the oracle of test_sampler.py.

It sorts the whole vocabulary and adds Python integers; the core selects by threshold and by radix.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import Counter

import numpy as np

from pyruntime.sampling import Sampling

F32 = np.float32


def philox4x32_10(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    (a, b, c, d), (k0, k1), mask = counter, key, 0xFFFFFFFF
    for _ in range(10):
        p, q = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (q >> 32) ^ b ^ k0, q & mask, (p >> 32) ^ d ^ k1, p & mask
        k0, k1 = (k0 + 0x9E3779B9) & mask, (k1 + 0xBB67AE85) & mask
    return a, b, c, d


def random_bits(seed: int, stream: int, position: int, purpose: int = 0) -> int:
    low = 0xFFFFFFFF
    x = philox4x32_10((position & low, position >> 32, stream, purpose), (seed & low, seed >> 32))
    return x[0] << 32 | x[1]


def fma(a: np.ndarray, b: float, c: np.ndarray) -> np.ndarray:
    """fma in binary32: a product exact in binary64, a sum rounded to odd there, so that rounding again is right."""
    p, c = a.astype(np.float64) * np.float64(b), np.asarray(c, np.float64)
    s = p + c
    back = s - p
    error = (p - (s - back)) + (c - back)
    even = (s.view(np.uint64) & np.uint64(1)) == 0
    return np.where((error != 0) & even, np.nextafter(s, np.copysign(np.inf, error)), s).astype(F32)


def exp32(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, F32)
    inside = np.clip(x, F32(-87), F32(88))
    t = fma(inside, F32(1.44269504), F32(12582912.0))
    n = t - F32(12582912.0)
    r = fma(n, F32(-0.693145752), inside)
    r = fma(n, F32(-1.42860677e-6), r)
    p = np.full_like(r, F32(0.00138145045))
    for coefficient in (0.00836876221, 0.0416683927, 0.166665196, 0.49999994, 1, 1):
        exact = p.astype(np.float64) * r.astype(np.float64)
        p = fma(exact, 1.0, np.full_like(exact, F32(coefficient)))
    y = np.ldexp(p, n.astype(np.int32))
    return np.where(x < -87, F32(0), np.where(x > 88, F32(np.inf), y)).astype(F32)


def weights(x: np.ndarray) -> list[int]:
    return [int(w) for w in np.rint(exp32(x).astype(np.float64) * 2.0**40)]


def log2(x: float) -> float:
    """The contract's, by IEEE operations: ln m = 2 atanh((m - 1) / (m + 1)) for a mantissa m in sqrt(1/2) ... sqrt(2)."""
    m, exponent = math.frexp(x)
    m, exponent = m * 2, exponent - 1
    if m > 1.4142135623730951:
        m, exponent = m / 2, exponent + 1
    s = (m - 1) / (m + 1)
    series = 0.0
    for k in range(25, 0, -2):
        series = series * (s * s) + 1 / k
    return exponent + 2 * s * series * 1.4426950408889634


def exp2(x: float) -> float:
    x = min(max(x, -900.0), 900.0)
    y = (x - round(x)) * 0.6931471805599453
    series = 1.0
    for k in range(18, 0, -1):
        series = series * y / k + 1
    return math.ldexp(series, round(x))


def lane_sum(terms: np.ndarray) -> float:
    lanes = np.zeros((-(-len(terms) // 16) + 1, 16))
    lanes[1:].reshape(-1)[: len(terms)] = terms
    v = np.add.accumulate(lanes, axis=0)[-1]
    for width in (8, 4, 2, 1):
        v = v[:width] + v[width : 2 * width]
    return float(v[0])


def dry_lengths(s: Sampling, history: list[int], breakers: list[list[int]]) -> dict[int, int]:
    """By token: the longest text at the end that it has followed before. By the definition, in cubic time."""
    last = s.dry_penalty_last_n
    window = history if last < 0 else history[len(history) - min(len(history), last) :]
    ends = [at + len(b) for b in breakers for at in range(len(history)) if history[at : at + len(b)] == b]
    limit = min(len(window), len(history) - max(ends, default=0))
    lengths: dict[int, int] = {}
    for at in range(1, len(window)):
        same = 0
        while same < min(at, limit) and window[at - 1 - same] == window[len(window) - 1 - same]:
            same += 1
        if same >= s.dry_allowed_length and [window[at]] not in breakers:
            lengths[window[at]] = max(same, lengths.get(window[at], 0))
    return lengths


def adjusted(s: Sampling, logits: np.ndarray, history: list[int], breakers: list[list[int]]) -> np.ndarray:
    x = logits.copy()
    for token, bias in (s.logit_bias or {}).items():
        x[token] += F32(bias)
    window = history if s.penalty_last_n < 0 else history[len(history) - min(len(history), s.penalty_last_n) :]
    for token, count in Counter(window).items():
        x[token] = x[token] / F32(s.repetition_penalty) if x[token] > 0 else x[token] * F32(s.repetition_penalty)
        x[token] -= F32(s.presence_penalty) + F32(s.frequency_penalty) * F32(count)
    if s.dry_multiplier > 0:
        for token, length in dry_lengths(s, history, breakers).items():
            penalty = s.dry_multiplier
            for _ in range(length - s.dry_allowed_length):
                penalty = min(penalty * s.dry_base, 2.0**100)
            x[token] -= F32(min(penalty, 2.0**100))
    return x


def shortest_prefix(w: list[int], share: float) -> int:
    """How many of these weights reach a share of their sum."""
    sums = list(itertools.accumulate(w))
    need = share * float(sums[-1])
    return next(i for i, total in enumerate(sums) if float(total) >= need) + 1


def mean_distance(d: np.ndarray) -> float:
    """d: logits less their largest, by ascending id. Their mean under the probabilities."""
    w = np.array(weights(d), np.float64)
    return lane_sum(np.where(w > 0, w * np.maximum(d, F32(-1e30)).astype(np.float64), 0)) / float(sum(weights(d)))


def survivors(s: Sampling, x: np.ndarray, excludes: bool) -> np.ndarray:
    """The ids that the rules leave, in candidate order. excludes: this token's draw for XTC says that it acts."""
    order = np.lexsort((np.arange(len(x)), -x))
    order = order[x[order] > -np.inf]
    if s.top_n_sigma > 0:
        finite, n = x > -np.inf, len(order)
        wide = np.where(finite, x, 0).astype(np.float64)
        mean = lane_sum(wide) / n
        squares = lane_sum(np.where(finite, (wide - mean) * (wide - mean), 0))
        order = order[x[order].astype(np.float64) >= float(x[order[0]]) - s.top_n_sigma * math.sqrt(squares / n)]
    if s.top_k > 0:
        order = order[: s.top_k]
    if s.typical_p < 1:
        largest = x[order[0]]
        mean = F32(mean_distance(x[np.sort(order)] - largest))
        nearest = order[np.lexsort((order, np.abs((x[order] - largest) - mean)))]
        nearest = nearest[: shortest_prefix(weights(x[nearest] - largest), s.typical_p)]
        order = order[np.isin(order, nearest)]
    if s.top_p < 1:
        order = order[: shortest_prefix(weights(x[order] - x[order[0]]), s.top_p)]
    order = order[exp32(x[order] - x[order[0]]).astype(np.float64) >= s.min_p]
    if excludes:
        w = weights(x[order] - x[order[0]])
        least = s.xtc_threshold * float(sum(w))
        top = [i for i, weight in enumerate(w) if float(weight) >= least]
        order = np.delete(order, top[:-1])
    return order


def dynamic_temperature(s: Sampling, d: np.ndarray) -> np.float32:
    if s.dynatemp_range == 0 or len(d) < 2:
        return F32(s.temperature)
    entropy = log2(float(sum(weights(d))) / 2.0**40) - mean_distance(d) * 1.4426950408889634
    share = min(entropy / log2(float(len(d))), 1.0)
    grown = exp2(s.dynatemp_exponent * log2(share) if share > 2.0**-60 else -900.0)
    low, high = max(0.0, s.temperature - s.dynatemp_range), s.temperature + s.dynatemp_range
    return F32(min(low + (high - low) * grown, float(np.finfo(F32).max)))


def distribution(
    s: Sampling,
    logits: np.ndarray,
    history: list[int],
    stream: int = 0,
    position: int = 0,
    breakers: list[list[int]] | None = None,
    mu: float = 0.0,
) -> tuple[np.ndarray, list[int]]:
    """The ids that can be drawn, ascending, and the running sum of their weights."""
    with np.errstate(over="ignore", invalid="ignore"):
        x = adjusted(s, logits, history, breakers or [])
        if F32(s.temperature) == 0:
            return np.argmax(x, keepdims=True), [1]
        if s.mirostat:
            return mirostat_distribution(s, x, mu)
        excludes = (random_bits(s.seed or 0, stream, position, 1) >> 11) * 2.0**-53 < s.xtc_probability
        kept = survivors(s, x, excludes)
        ids = np.sort(kept)
        d = x[ids] - x[kept[0]]
        temperature = dynamic_temperature(s, d)
        if temperature == 0:
            return kept[:1], [1]
        return ids, list(itertools.accumulate(weights(d / temperature)))


def mirostat_distribution(s: Sampling, x: np.ndarray, mu: float) -> tuple[np.ndarray, list[int]]:
    order = np.lexsort((np.arange(len(x)), -x))
    d = (x[order] - x[order[0]]) / F32(s.temperature)
    w = weights(d)
    if s.mirostat == 2:
        least = float(sum(w)) * exp2(-mu)
        keeps = [i for i, weight in enumerate(w) if i == 0 or float(weight) >= least]
    else:
        keeps = [i for i, weight in enumerate(w) if weight > 0]
        wide = (x[order[keeps]] - x[order[0]]).astype(np.float64) / float(F32(s.temperature))
        keeps = keeps[: zipf_keeps(wide, len(keeps), mu)]
    ids = np.sort(order[keeps])
    return ids, list(itertools.accumulate(weights((x[ids] - x[order[0]]) / F32(s.temperature))))


def zipf_keeps(d: np.ndarray, n: int, mu: float) -> int:
    """Mirostat 1: k of the paper, from Zipf's exponent s of the first 100 of n candidates; in logarithms, within 1 and n."""
    if n < 2:
        return n
    products = squares = 0.0
    for i in range(min(n, 100) - 1):
        t = log2((i + 2) / (i + 1))
        products += t * (float(d[i] - d[i + 1]) * 1.4426950408889634)
        squares += t * t
    s = max(products / squares, 2.0**-20)
    epsilon, log2_n = s - 1, log2(float(n))
    ratio = 1.4426950408889634 / log2_n if abs(epsilon) < 2.0**-20 else epsilon / (1 - exp2(-epsilon * log2_n))
    log2_k = (mu + log2(ratio)) / s
    return n if log2_k >= log2_n else min(n, int(max(1.0, exp2(log2_k))))


def next_mu(s: Sampling, mu: float, token: int, ids: np.ndarray, sums: list[int]) -> float:
    """Once `token` was drawn from a distribution."""
    i = int(np.flatnonzero(ids == token)[0])
    weight = sums[i] - (sums[i - 1] if i else 0)
    return mu - s.mirostat_eta * ((log2(float(sums[-1])) - log2(float(weight))) - s.mirostat_tau)


def logprobs(logits: np.ndarray) -> np.ndarray:
    """The contract's, of all tokens."""
    largest = logits.max()
    with np.errstate(over="ignore"):
        log_total = log2(float(sum(weights(logits - largest))) / 2.0**40) * 0.6931471805599453
    return (logits.astype(np.float64) - float(largest)) - log_total


def draw(ids: np.ndarray, sums: list[int], seed: int, stream: int, position: int) -> int:
    target = random_bits(seed, stream, position) * sums[-1] >> 64
    return int(ids[bisect.bisect_right(sums, target)])


def oracle(
    s: Sampling,
    logits: np.ndarray,
    position: int,
    stream: int = 0,
    history: list[int] | None = None,
    breakers: list[list[int]] | None = None,
) -> int:
    return draw(*distribution(s, logits, history or [], stream, position, breakers), s.seed or 0, stream, position)
