"""Rotary angles: the core's own logarithm, power, sine and cosine against 60-digit decimals and the C library."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from budgets import INVERSE_FREQUENCY_RELATIVE, ROTARY_ABSOLUTE, SINE_ABSOLUTE, YARN_RELATIVE

from pyruntime import _core

DIGITS = 60
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803")
LARGEST_CONTEXT = 1 << 20
THETAS = [1.0, 2.0, 10000.0, 100000.0, 500000.0, 1e6, 1e7, 12345.678, math.sqrt(2), 1e9]


def exact_frequencies(theta: float, n_rot: int) -> list[Decimal]:
    with localcontext(prec=DIGITS):
        return [Decimal(theta) ** (Decimal(-2 * i) / n_rot) for i in range(n_rot // 2)]


def exact_sincos(angle: Decimal) -> tuple[float, float]:
    """The C library is good to the last bit or two once the angle lies in [-pi, pi]."""
    with localcontext(prec=DIGITS):
        rest = float(angle - 2 * PI * (angle / (2 * PI)).to_integral_value())
    return math.sin(rest), math.cos(rest)


@pytest.mark.parametrize("theta", THETAS)
@pytest.mark.parametrize("n_rot", [2, 64, 80, 128, 256])
def test_inverse_frequencies(theta: float, n_rot: int) -> None:
    got = _core.rope_frequencies(theta, n_rot)
    assert len(got) == n_rot // 2
    assert got[0] == 1.0
    with localcontext(prec=DIGITS):
        errors = [abs(Decimal(f) / exact - 1) for f, exact in zip(got, exact_frequencies(theta, n_rot), strict=True)]
    assert max(errors) <= INVERSE_FREQUENCY_RELATIVE


def angles() -> np.ndarray:
    """Every kind: whole positions at frequency 1, anything between, and the doubles next to multiples of pi / 4."""
    rng = np.random.default_rng(0)
    quarters = rng.integers(0, LARGEST_CONTEXT * 4 // math.pi, 2000).astype(np.float64) * (math.pi / 4)
    return np.concatenate(
        [
            np.arange(300.0),
            rng.integers(0, LARGEST_CONTEXT + 1, 2000).astype(np.float64),
            [LARGEST_CONTEXT - 1, LARGEST_CONTEXT],
            10.0 ** rng.uniform(-12, 6, 2000),
            np.nextafter(quarters, 0),
            quarters,
            np.nextafter(quarters, np.inf),
        ]
    )


def test_sine_and_cosine_of_an_angle() -> None:
    for angle in angles():
        sine, cosine = _core.sincos(angle)
        exact = exact_sincos(Decimal(angle))
        assert abs(sine - exact[0]) <= SINE_ABSOLUTE, angle
        assert abs(cosine - exact[1]) <= SINE_ABSOLUTE, angle


def test_signs_and_zero() -> None:
    assert _core.sincos(0.0) == (0.0, 1.0)
    for angle in (0.3, 1.0, 2.0, 4.0, 5.0, 1000.0):
        sine, cosine = _core.sincos(angle)
        assert _core.sincos(-angle) == (-sine, cosine)


@pytest.mark.parametrize("theta", [10000.0, 100000.0, 500000.0, 1e6])
def test_rotary_tables_up_to_the_largest_context(theta: float) -> None:
    """Both errors together, as the rope table has them: position times inverse frequency, then sine and cosine."""
    n_rot = 64
    frequencies = _core.rope_frequencies(theta, n_rot)
    exact = exact_frequencies(theta, n_rot)
    positions = [0, 1, 127, 8191, 131071, LARGEST_CONTEXT // 3, LARGEST_CONTEXT - 1, LARGEST_CONTEXT]
    for position in positions:
        for ours, true in zip(frequencies, exact, strict=True):
            got = _core.sincos(position * ours)
            with localcontext(prec=DIGITS):
                expected = exact_sincos(position * true)
            assert abs(got[0] - expected[0]) <= ROTARY_ABSOLUTE
            assert abs(got[1] - expected[1]) <= ROTARY_ABSOLUTE


# Scaling


def exact_scaled(
    theta: float, n_rot: int, factor: float, original: int, fast: float, slow: float, truncate: bool
) -> list[Decimal]:
    """arXiv:2309.00071, section 3.2: dimension d turns original / (2 pi theta^(d / n_rot)) times in the original context."""

    def bound(turns: float) -> Decimal:
        return n_rot * (original / (Decimal(turns) * 2 * PI)).ln() / (2 * Decimal(theta).ln())

    with localcontext(prec=DIGITS):
        low, high = bound(fast), bound(slow)
        if truncate:
            low, high = low.to_integral_value("ROUND_FLOOR"), high.to_integral_value("ROUND_CEILING")
        low, high = max(low, Decimal(0)), min(high, Decimal(n_rot - 1))
        width = max(high - low, Decimal("0.001"))
        ramps = [min(max((i - low) / width, Decimal(0)), Decimal(1)) for i in range(n_rot // 2)]
        frequencies = exact_frequencies(theta, n_rot)
        return [f * (ramp / Decimal(factor) + 1 - ramp) for f, ramp in zip(frequencies, ramps, strict=True)]


@pytest.mark.parametrize("theta", [1.0000001, 2.0, 10000.0, 150000.0, 1e6, 1e9])
@pytest.mark.parametrize("n_rot", [2, 64, 80, 128])
@pytest.mark.parametrize("truncate", [True, False])
@pytest.mark.parametrize(
    ("factor", "original", "fast", "slow"),
    [(4.0, 4096, 32.0, 1.0), (32.0, 4096, 32.0, 1.0), (1.5, 1, 32.0, 1.0), (40.0, 32768, 1.0, 32.0), (1e9, 2**31 - 1, 1e9, 1e-9)],
    ids=["qwen", "gpt-oss", "a context of 1", "bounds swapped", "extreme"],
)  # fmt: skip
def test_yarn(theta: float, n_rot: int, truncate: bool, factor: float, original: int, fast: float, slow: float) -> None:
    got = _core.rope_frequencies(
        theta, n_rot, factor=factor, original_context=original, beta_fast=fast, beta_slow=slow, truncate=truncate
    )
    exact = exact_scaled(theta, n_rot, factor, original, fast, slow, truncate)
    with localcontext(prec=DIGITS):
        errors = [abs(Decimal(f) / e - 1) for f, e in zip(got, exact, strict=True)]
    assert max(errors) <= YARN_RELATIVE


def test_linear_scaling_divides() -> None:
    plain = np.array(_core.rope_frequencies(10000.0, 64))
    assert _core.rope_frequencies(10000.0, 64, factor=8.0) == (plain / 8).tolist()
    unchanged = _core.rope_frequencies(10000.0, 64, factor=1.0, original_context=4096)
    np.testing.assert_allclose(unchanged, plain, rtol=1e-15)
