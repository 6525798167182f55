"""The oracle of test_sampler.py: Philox's published vectors, fma against exact fractions, exp against NumPy."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from sampling_oracle import F32, exp32, fma, philox4x32_10

KNOWN_ANSWERS = [  # philox4x32 10 of Random123's kat_vectors
    ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_known_answers(counter: tuple, key: tuple, expected: tuple) -> None:
    assert philox4x32_10(counter, key) == expected


def test_fma_rounds_once() -> None:
    rng = np.random.default_rng(1)
    for _ in range(2000):
        a, b = (rng.standard_normal(2) * 2.0 ** rng.integers(-20, 20, 2)).astype(F32)
        c = F32(-float(a) * float(b) * (1 + rng.integers(-3, 4) * 2.0 ** -rng.integers(1, 30)))
        got = fma(np.array([a]), b, np.array([c]))[0]
        exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
        neighbours = (np.nextafter(got, F32(-np.inf)), np.nextafter(got, F32(np.inf)))
        distance = abs(Fraction(float(got)) - exact)
        assert all(distance <= abs(Fraction(float(other)) - exact) for other in neighbours)


def test_exp_is_close_to_exp() -> None:
    x = np.linspace(-87, 88, 100_001, dtype=F32)
    relative = exp32(x).astype(np.float64) / np.exp(x.astype(np.float64)) - 1
    assert np.abs(relative).max() < 7.8e-8
    assert exp32(np.array([0, -87.01, 88.01, -np.inf], F32)).tolist() == [1, 0, np.inf, 0]
