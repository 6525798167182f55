"""Operations on rows: the core against the NumPy interpreter, the same bits in every way."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from budgets import ROW_OPERATION
from plan_tools import Kit, make, worst

from pyruntime.plan import Value
from pyruntime.plan.operations.rows import ACTIVATIONS, Activation

WIDTHS = [3, 16, 45, 64]  # ragged tails and whole vectors
PLAIN = [kind for kind in ACTIVATIONS if kind != "swiglu_oai"]  # that one is for gates


# Norms


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("weighted", [True, False])
def test_rms_norm(weighted: bool, width: int, tmp_path: Path) -> None:
    def body(kit: Kit) -> Value:
        return kit.b.rms_norm(kit.input(width), kit.weight(width) if weighted else None, 0.01)

    case = make(tmp_path, body)
    assert worst(case.same_in_every_way(), case.expected()) <= ROW_OPERATION


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("biased", [True, False])
def test_layer_norm(biased: bool, weighted: bool, width: int, tmp_path: Path) -> None:
    def body(kit: Kit) -> Value:
        weight, bias = (kit.weight(width) if there else None for there in (weighted, biased))
        return kit.b.layer_norm(kit.input(width), weight, bias, 0.01)

    case = make(tmp_path, body)
    assert worst(case.same_in_every_way(), case.expected()) <= ROW_OPERATION


@pytest.mark.parametrize("op", ["rms_norm", "layer_norm"])
@pytest.mark.parametrize("shape", [(20,), (3, 20), None], ids=["one for all heads", "one a head", "none"])
def test_norm_of_heads(op: str, shape: tuple[int, ...] | None, tmp_path: Path) -> None:
    def body(kit: Kit) -> Value:
        weight = kit.weight(*shape) if shape else None
        x = kit.input(60)
        if op == "rms_norm":
            return kit.b.rms_norm(x, weight, 1e-5, head_dim=20)
        return kit.b.layer_norm(x, weight, kit.weight(*shape) if shape else None, 1e-5, head_dim=20)

    case = make(tmp_path, body)
    assert worst(case.same_in_every_way(), case.expected()) <= ROW_OPERATION


def test_layer_norm_of_a_row_far_from_zero(tmp_path: Path) -> None:
    """The mean is taken off before squares are summed: what is left is as good as the elements are."""
    values = 1000 + np.random.default_rng(0).integers(-64, 64, (37, 37)) / 64  # their mean is exact
    case = make(tmp_path, lambda kit: kit.b.layer_norm(kit.input(37, values), None, None, 1e-9))
    assert worst(case.same_in_every_way(), case.expected()) <= 1e-4  # the mean's own rounding over the spread: 6e-5


# Element by element


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", PLAIN)
def test_activation(kind: Activation, width: int, tmp_path: Path) -> None:
    case = make(tmp_path, lambda kit: kit.b.activation(kit.input(width), kind))
    assert worst(case.same_in_every_way(), case.expected()) <= ROW_OPERATION


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_gated(kind: Activation, width: int, tmp_path: Path) -> None:
    case = make(tmp_path, lambda kit: kit.b.gated(kit.input(width), kit.input(width), kind))
    assert worst(case.same_in_every_way(), case.expected()) <= ROW_OPERATION


@pytest.mark.parametrize("width", WIDTHS)
def test_scale_softcap_and_sigmoid_gate(width: int, tmp_path: Path) -> None:
    def body(kit: Kit) -> Value:
        capped = kit.b.softcap(kit.b.scale(kit.input(width), math.sqrt(width)), 3.7)
        return kit.b.sigmoid_gate(capped, kit.b.slice(kit.input(5), 3, 1))

    case = make(tmp_path, body)
    assert worst(case.same_in_every_way(), case.expected()) <= ROW_OPERATION


# Extreme values: what an element becomes, whatever its neighbours are


EXTREME = [0.0, -0.0, 1e-45, -1e-45, 1e-38, -1e-20, 7, -7, 13.2, -13.2, 60, -60, 88.5, -88.5, 1e4, -1e4, 3e38, -3e38]
VANISHING = 6e-37  # results below it may be 0: exp is, below e^-87


@pytest.mark.parametrize("kind", [*PLAIN, "softcap"])
def test_extreme_elements(kind: Activation, tmp_path: Path) -> None:
    elements = EXTREME[:16] if kind == "relu2" else EXTREME  # a square that overflows would fail the step

    def body(kit: Kit) -> Value:
        x = kit.input(len(elements), elements)
        return kit.b.softcap(x, 2.5) if kind == "softcap" else kit.b.activation(x, kind)

    case = make(tmp_path, body)
    with np.errstate(over="ignore"):  # of x^3
        expected = case.expected()
    error = np.abs(case.same_in_every_way() - expected)
    assert (error <= ROW_OPERATION * np.abs(expected) + VANISHING).all()


# Parts of rows


def test_slices_and_joins(tmp_path: Path) -> None:
    def body(kit: Kit) -> Value:
        x = kit.input(3 * 17)  # three heads
        part = kit.b.slice(x, 2, 5, n_heads=3)
        joined = kit.b.join_heads(part, kit.b.slice(x, 0, 2, n_heads=3), 3)
        return kit.b.join_shared(joined, kit.b.slice(x, 50, 1), 3)

    case = make(tmp_path, body)
    assert case.plan.values[case.plan.logits].width == 3 * 8
    assert np.array_equal(case.same_in_every_way(), case.expected())


@pytest.mark.parametrize("type_", ["F32", "F16", "Q8_0"])
def test_position_embedding(type_: str, tmp_path: Path) -> None:
    def body(kit: Kit) -> Value:
        return kit.b.add(kit.input(64), kit.b.position_embedding(kit.weight(100, 64, type_=type_)))

    case = make(tmp_path, body)
    assert case.plan.max_context == 100
    assert worst(case.same_in_every_way(context=100), case.expected()) <= ROW_OPERATION
