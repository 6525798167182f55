"""docs/numerics.md, "Sampling", written a second time, in NumPy and Python integers: the oracle of test_sampler.py.

It sorts the whole vocabulary and adds Python integers; the core selects by threshold and by radix.
"""

from __future__ import annotations

import bisect
import itertools
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


def random_bits(seed: int, stream: int, position: int) -> int:
    low = 0xFFFFFFFF
    x = philox4x32_10((position & low, position >> 32, stream, 0), (seed & low, seed >> 32))
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


def adjusted(s: Sampling, logits: np.ndarray, history: list[int]) -> np.ndarray:
    x = logits.copy()
    for token, bias in (s.logit_bias or {}).items():
        x[token] += F32(bias)
    window = history if s.penalty_last_n < 0 else history[len(history) - min(len(history), s.penalty_last_n) :]
    for token, count in Counter(window).items():
        x[token] = x[token] / F32(s.repetition_penalty) if x[token] > 0 else x[token] * F32(s.repetition_penalty)
        x[token] -= F32(s.presence_penalty) + F32(s.frequency_penalty) * F32(count)
    return x


def survivors(s: Sampling, x: np.ndarray) -> np.ndarray:
    """The ids that top-k, top-p and min-p leave, in candidate order."""
    order = np.lexsort((np.arange(len(x)), -x))
    order = order[x[order] > -np.inf]
    if s.top_k > 0:
        order = order[: s.top_k]
    e = x[order] - x[order[0]]
    if s.top_p < 1:
        sums = list(itertools.accumulate(weights(e)))
        need = s.top_p * float(sums[-1])
        order = order[: next(i for i, total in enumerate(sums) if float(total) >= need) + 1]
    return order[exp32(x[order] - x[order[0]]).astype(np.float64) >= s.min_p]


def distribution(s: Sampling, logits: np.ndarray, history: list[int]) -> tuple[np.ndarray, list[int]]:
    """The ids that can be drawn, ascending, and the running sum of their weights."""
    with np.errstate(over="ignore"):
        x = adjusted(s, logits, history)
        if F32(s.temperature) == 0:
            return np.argmax(x, keepdims=True), [1]
        kept = survivors(s, x)
        ids = np.sort(kept)
        return ids, list(itertools.accumulate(weights((x[ids] - x[kept[0]]) / F32(s.temperature))))


def draw(ids: np.ndarray, sums: list[int], seed: int, stream: int, position: int) -> int:
    target = random_bits(seed, stream, position) * sums[-1] >> 64
    return int(ids[bisect.bisect_right(sums, target)])


def oracle(s: Sampling, logits: np.ndarray, position: int, stream: int = 0, history: list[int] | None = None) -> int:
    return draw(*distribution(s, logits, history or []), s.seed or 0, stream, position)
