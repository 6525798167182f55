"""Functions that libraries of mathematics round differently from machine to machine, by IEEE operations alone.

Numbers that an architecture computes while it builds a plan are part of the result (docs/numerics.md).
"""

from __future__ import annotations

import math


def log(x: float) -> float:
    """The natural logarithm, relative error below 1e-14, the same on every machine. ValueError for x <= 0."""
    if not 0 < x < math.inf:
        raise ValueError(f"log of {x}")
    mantissa, exponent = math.frexp(x)  # exact; mantissa in [0.5, 1)
    if mantissa < math.sqrt(0.5):
        mantissa, exponent = mantissa * 2, exponent - 1
    s = (mantissa - 1) / (mantissa + 1)  # |s| <= 0.172; ln m = 2 atanh(s)
    total = 0.0
    for k in range(25, 0, -2):
        total = total * s * s + 1 / k
    return exponent * 0.6931471805599453 + 2 * s * total
