"""Products and what is fused with them: the core against the NumPy interpreter, the same bits in every way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from block_formats import IN_256
from budgets import GATED_PRODUCT, PRODUCT
from plan_tools import Kit, int8_rounding, make, worst

from pyruntime import _core
from pyruntime.plan import Value, reference
from pyruntime.plan.operations.rows import ACTIVATIONS, Activation

FORMATS = ["F32", "F16", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q6_K"]


@pytest.fixture(autouse=True)
def _activations_in_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left to compare is float32's own rounding."""
    monkeypatch.setitem(reference.OPERATIONS, "quantize", int8_rounding)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("type_", FORMATS)
def test_bias(type_: str, residual: bool, tmp_path: Path) -> None:
    def body(kit: Kit) -> Value:
        weight, bias = kit.weight(37, 256, type_=type_), kit.weight(37)
        return kit.b.linear(kit.input(256), weight, bias, residual=kit.input(37) if residual else None)

    case = make(tmp_path, body)
    assert worst(case.same_in_every_way(), case.expected()) <= PRODUCT


def test_several_products_some_with_a_bias(tmp_path: Path) -> None:
    def body(kit: Kit) -> Value:
        weights = [kit.weight(rows, 64, type_=t) for rows, t in ((5, "Q4_0"), (18, "F32"), (33, "Q4_0"), (16, "Q8_0"))]
        biases = [kit.weight(5), kit.weight(18), kit.weight(33), None]
        a, b, c, d = kit.b.linear_many(kit.input(64), weights, biases)
        return kit.b.join_heads(kit.b.join_heads(a, b, 1), kit.b.join_heads(c, d, 1), 1)

    case = make(tmp_path, body)
    assert [len(step.outputs) for step in case.plan.steps if step.op == "linear"] == [2, 1, 1]
    assert worst(case.same_in_every_way(), case.expected()) <= PRODUCT


@pytest.mark.parametrize("type_", ["F32", "Q4_1"])
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_gated_ffn(kind: Activation, type_: str, tmp_path: Path) -> None:
    def body(kit: Kit) -> Value:
        gate, up = (kit.weight(37, 96, type_=type_) for _ in range(2))
        return kit.b.gated_ffn(kit.input(96), gate, up, kind)

    case = make(tmp_path, body)
    assert worst(case.same_in_every_way(), case.expected()) <= GATED_PRODUCT


@pytest.mark.parametrize("type_", FORMATS)
@pytest.mark.parametrize(("n_heads", "rows"), [(3, 37), (2, 150), (1, 16)])
def test_head_linear(n_heads: int, rows: int, type_: str, tmp_path: Path) -> None:
    """More rows than an item has (128), and rows that fill no group of 16."""
    cols = 256 if type_ in IN_256 else 64
    case = make(
        tmp_path, lambda kit: kit.b.head_linear(kit.input(n_heads * cols), kit.weight(n_heads, rows, cols, type_=type_))
    )
    assert worst(case.same_in_every_way(), case.expected()) <= PRODUCT


@pytest.mark.parametrize("type_", ["F32", "Q8_0"])
def test_head_linear_of_more_tokens_than_are_gathered_at_a_time(type_: str, tmp_path: Path) -> None:
    case = make(tmp_path, lambda kit: kit.b.head_linear(kit.input(3 * 32), kit.weight(3, 37, 32, type_=type_)))
    alone = case.core(chunk=1)
    case.ids = np.resize(case.ids, 300)
    assert case.core(threads=2, chunk=300).tobytes() == np.resize(alone, (300, alone.shape[1])).tobytes()


# Flat weights


@pytest.mark.parametrize("type_", ["F32", "F16", "BF16", "Q4_0", "Q8_0"])
def test_a_flat_matrix_is_its_rows_one_after_the_other(type_: str, tmp_path: Path) -> None:
    def body(kit: Kit) -> Value:
        return kit.b.rms_norm(kit.input(3 * 32), kit.weight(3, 32, type_=type_), 1e-5, head_dim=32)

    case = make(tmp_path, body)
    assert worst(case.same_in_every_way(), case.expected()) <= PRODUCT


def test_flat_weights_are_counted_as_vectors(tmp_path: Path) -> None:
    case = make(tmp_path, lambda kit: kit.b.rms_norm(kit.input(3 * 32), kit.weight(3, 32), 1e-5, head_dim=32))
    (flat,) = case.plan.flat
    file = _core.GGUF(case.path)
    assert _core.loaded_bytes(file, [flat], [flat]) == 3 * 32 * 4
    assert _core.loaded_bytes(file, [flat], []) == 16 * 32 * 4  # as a matrix: rows are padded to groups of 16
