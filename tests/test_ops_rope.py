"""Rotary positions: the core against the NumPy interpreter, and what of a hostile file is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from budgets import ROW_OPERATION
from plan_tools import Case, Kit, make, worst

from pyruntime.errors import GGUFError, PyruntimeError
from pyruntime.plan import PlanBuilder, RopeScaling, Value

SCALINGS = {
    "linear": RopeScaling(factor=4.0),
    "yarn": RopeScaling(8.0, 32, magnitude=1.2),
    "yarn, bounds as they are": RopeScaling(8.0, 32, truncate=False),
    "yarn, other bounds": RopeScaling(3.0, 100, beta_fast=8.0, beta_slow=0.5),
    "magnitude": RopeScaling(magnitude=0.7),
    "temperature": RopeScaling(temperature=0.4, temperature_length=16),
}


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_scaled_table(scaling: RopeScaling, tmp_path: Path) -> None:
    case = make(tmp_path, lambda kit: kit.b.add(kit.b.rope_table(24, 100.0, scaling), kit.input(24, np.zeros(24))))
    assert worst(case.same_in_every_way(), case.expected()) <= ROW_OPERATION
    plain = make(tmp_path, lambda kit: kit.b.add(kit.b.rope_table(24, 100.0), kit.input(24, np.zeros(24))))
    assert worst(plain.core(), case.expected()) > 0.1  # another table than without


@pytest.mark.parametrize("scaling", [None, SCALINGS["yarn"]])
def test_factors(scaling: RopeScaling | None, tmp_path: Path) -> None:
    case = with_factors(tmp_path, np.linspace(0.9, 30, 12), scaling)
    assert worst(case.same_in_every_way(), case.expected()) <= ROW_OPERATION


def with_factors(folder: Path, factors: object, scaling: RopeScaling | None = None) -> Case:
    def body(kit: Kit) -> Value:
        table = kit.b.rope_table(24, 100.0, scaling, kit.weight(12, values=np.asarray(factors, np.float32)))
        return kit.b.add(table, kit.input(24, np.zeros(24)))

    return make(folder, body)


@pytest.mark.parametrize("mode", ["norm", "neox"])
@pytest.mark.parametrize(("n_rot", "first"), [(20, 0), (8, 0), (8, 4), (8, 12), (2, 18)])
def test_part_of_a_head(mode: Literal["norm", "neox"], n_rot: int, first: int, tmp_path: Path) -> None:
    def body(kit: Kit) -> Value:
        return kit.b.rope(kit.input(60), kit.b.rope_table(n_rot, 50.0), 20, mode, first)

    case = make(tmp_path, body)
    assert worst(case.same_in_every_way(), case.expected()) <= ROW_OPERATION


# Refused


@pytest.mark.parametrize("bad", [0.0, -0.0, -1.0, 1e-30, 1e-45, math.inf, -math.inf, math.nan])
def test_a_hostile_factor_is_named(bad: float, tmp_path: Path) -> None:
    case = with_factors(tmp_path, [*range(1, 8), bad, *range(9, 13)])
    with pytest.raises(GGUFError, match=r"tiny\.gguf: tensor tensor_0\.weight at offset \d+: element 7 is ") as caught:
        case.core()
    assert "\n" not in str(caught.value)


def test_no_frequency_may_be_so_fast_that_an_angle_loses_digits(tmp_path: Path) -> None:
    with_factors(tmp_path, [2 / 3, *range(2, 13)]).core()
    with pytest.raises(GGUFError, match=r"element 0 is 0\.66"):
        with_factors(tmp_path, [0.6666, *range(2, 13)]).core()


BAD_SCALINGS = {
    "factor": [0.0, -1.0, 0.66, 1e10, math.inf, math.nan],
    "original_context": [-1, 1 << 31, math.nan],
    "beta_fast": [0.0, -32.0, 1e10, math.inf, math.nan],
    "beta_slow": [0.0, -1.0, 1e-10, math.nan],
    "magnitude": [0.0, -1.0, 1e10, math.inf, math.nan],
    "temperature": [-0.1, 1e10, math.nan],
}


@pytest.mark.parametrize(("name", "bad"), [(name, bad) for name, values in BAD_SCALINGS.items() for bad in values])
def test_scaling_out_of_range(name: str, bad: float, tmp_path: Path) -> None:
    """By the builder; and by the core, were a plan to come from elsewhere."""
    with pytest.raises(GGUFError, match=rf"tiny\.gguf: rope scaling: {name} is "):
        PlanBuilder("tiny.gguf").rope_table(24, 100.0, RopeScaling(**{name: bad}))
    case = make(
        tmp_path, lambda kit: kit.b.add(kit.b.rope_table(24, 100.0, SCALINGS["yarn"]), kit.input(24, np.zeros(24)))
    )
    next(step for step in case.plan.steps if step.op == "rope_table").attributes[name] = bad
    with pytest.raises(PyruntimeError, match=r"plan: rope_table \(.*\): .* out of range"):
        case.core()


def test_yarn_needs_a_base_above_1(tmp_path: Path) -> None:
    with pytest.raises(GGUFError, match=r"tiny\.gguf: rope scaling: yarn needs a base above 1"):
        PlanBuilder("tiny.gguf").rope_table(24, 1.0, SCALINGS["yarn"])
    PlanBuilder().rope_table(24, 1.0, SCALINGS["linear"])
    case = make(
        tmp_path, lambda kit: kit.b.add(kit.b.rope_table(24, 2.0, SCALINGS["yarn"]), kit.input(24, np.zeros(24)))
    )
    next(step for step in case.plan.steps if step.op == "rope_table").attributes["theta"] = 1
    with pytest.raises(PyruntimeError, match=r"plan: rope_table \(.*\): yarn needs a theta above 1"):
        case.core()
