"""Steps that do not fit their operands: the core refuses a plan that the builder would not make, and names the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from plan_tools import Kit, make

from pyruntime import _core
from pyruntime.errors import PyruntimeError
from pyruntime.plan import Value

Body = Callable[[Kit], Value]

STEPS: dict[str, tuple[Body, dict[str, list[float]]]] = {
    "rms_norm": (
        lambda kit: kit.b.rms_norm(kit.input(60), kit.weight(3, 20), 1e-5, head_dim=20),
        {"head_dim": [0, 7, 61, -20, 0.5, math.nan, 1e300], "weight": [0, 2]},
    ),
    "layer_norm": (
        lambda kit: kit.b.layer_norm(kit.input(60), kit.weight(20), kit.weight(20), 1e-5, head_dim=20),
        {"head_dim": [0, 7, 30], "bias": [0, 2, math.nan], "weight": [0]},
    ),
    "scale": (lambda kit: kit.b.scale(kit.input(8), 2.0), {"factor": [math.inf, math.nan, 1e300]}),
    "softcap": (lambda kit: kit.b.softcap(kit.input(8), 2.0), {"cap": [0, -1, math.inf, math.nan, 1e-300]}),
    "activation": (lambda kit: kit.b.activation(kit.input(8), "gelu"), {"kind": [-1, 5, 6, 0.5, math.nan]}),
    "gated": (lambda kit: kit.b.gated(kit.input(8), kit.input(8), "silu"), {"kind": [-1, 6, 1e9]}),
    "slice": (
        lambda kit: kit.b.slice(kit.input(24), 2, 5, n_heads=3),
        {"first": [-1, 4, 8], "width": [0, 4, 6, 7], "n_heads": [0, 2, 5]},
    ),
    "join_heads": (
        lambda kit: kit.b.join_heads(kit.input(12), kit.input(6), 3),
        {"n_heads": [0, 4, 5, -3], "shared": [1, 2]},
    ),
    "linear": (lambda kit: kit.b.linear(kit.input(8), kit.weight(5, 8), kit.weight(5)), {"bias": [0, 2, -1]}),
    "gated_ffn": (
        lambda kit: kit.b.gated_ffn(kit.input(8), kit.weight(5, 8), kit.weight(5, 8), "gelu"),
        {"activation": [-1, 6, 0.5]},
    ),
    "rope": (
        lambda kit: kit.b.rope(kit.input(40), kit.b.rope_table(8, 1e4), 20, "norm", first=4),
        {"first": [-1, 13, 19, 20], "head_dim": [7, 10, 0], "neox": [2]},
    ),
}
CASES = [(op, name, bad) for op, (_, names) in STEPS.items() for name, values in names.items() for bad in values]


@pytest.mark.parametrize(("op", "name", "bad"), CASES)
def test_attributes_that_do_not_fit(op: str, name: str, bad: float, tmp_path: Path) -> None:
    case = make(tmp_path, STEPS[op][0])
    case.core()
    next(step for step in case.plan.steps if step.op == op).attributes[name] = bad
    with pytest.raises(PyruntimeError, match=r"^plan: ") as caught:
        case.core()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("op", STEPS)
def test_a_missing_operand(op: str, tmp_path: Path) -> None:
    for field in ("inputs", "weights"):
        case = make(tmp_path, STEPS[op][0])
        at = next(i for i, step in enumerate(case.plan.steps) if step.op == op)
        step = case.plan.steps[at]
        if not getattr(step, field):
            continue
        short = {f: getattr(step, f) for f in ("op", "inputs", "outputs", "weights", "attributes", "where")}
        case.plan.steps[at] = type(step)(**(short | {field: getattr(step, field)[:-1]}))
        with pytest.raises(PyruntimeError, match=rf"^plan: {op} \(.*\): "):
            case.core()


def test_a_context_longer_than_the_table_of_positions(tmp_path: Path) -> None:
    case = make(tmp_path, lambda kit: kit.b.add(kit.input(8), kit.b.position_embedding(kit.weight(100, 8))))
    case.core(context=100)
    with pytest.raises(PyruntimeError, match=r"position_embedding .*: the table has fewer rows than the context"):
        case.core(context=101)


@pytest.mark.parametrize(("heads", "rows", "cols"), [(2, 5, 8), (3, 6, 8), (3, 5, 4)])
def test_head_linear_with_another_stack(heads: int, rows: int, cols: int, tmp_path: Path) -> None:
    def body(kit: Kit) -> Value:
        x = kit.b.head_linear(kit.input(24), kit.weight(3, 5, 8))
        kit.weight(heads, rows, cols)
        return x

    case = make(tmp_path, body)
    case.core()
    at = next(i for i, step in enumerate(case.plan.steps) if step.op == "head_linear")
    step = case.plan.steps[at]
    case.plan.steps[at] = type(step)(step.op, step.inputs, step.outputs, ("tensor_2.weight",), {}, step.where)
    with pytest.raises(PyruntimeError, match=r"^plan: head_linear \(.*\): widths"):
        case.core()


@pytest.mark.parametrize(
    ("op", "weight", "message"),
    [
        ("linear", "stack", "weight stack is not a matrix"),
        ("head_linear", "matrix", "weight matrix is not a stack of matrices"),
        ("rms_norm", "matrix", "weight matrix is not a vector"),
        ("rms_norm", "vector", "weight vector is not a vector of 24"),
    ],
)
def test_a_weight_of_another_kind(op: str, weight: str, message: str, tmp_path: Path) -> None:
    names: dict[str, str] = {}

    def body(kit: Kit) -> Value:
        others = kit.weight(24, 24), kit.weight(3, 8, 8), kit.weight(23)
        names.update(zip(("matrix", "stack", "vector"), (w.name for w in others), strict=True))
        x = kit.b.linear(kit.input(24), others[0])
        x = kit.b.join_heads(kit.b.head_linear(x, others[1]), kit.b.rms_norm(kit.input(23), others[2], 1e-5), 1)
        return kit.b.rms_norm(kit.b.slice(x, 0, 24), kit.weight(24), 1e-5)

    case = make(tmp_path, body)
    case.core()
    at = max(i for i, step in enumerate(case.plan.steps) if step.op == op)
    step = case.plan.steps[at]
    case.plan.steps[at] = type(step)(step.op, step.inputs, step.outputs, (names[weight],), step.attributes, step.where)
    with pytest.raises(PyruntimeError, match="^plan: " + message.replace(weight, names[weight], 1)):
        case.core()


def test_a_weight_that_was_not_loaded(tmp_path: Path) -> None:
    case = make(tmp_path, lambda kit: kit.b.linear(kit.input(8), kit.weight(5, 8)))
    names = [name for name in case.plan.weight_names if name != "tensor_1.weight"]
    limits = {"context": 8, "max_tokens": 8, "n_threads": 1, "kv_type": "f32", "kv_max_bytes": 1 << 20, "isa": ""}
    with pytest.raises(PyruntimeError, match=r"^plan: no weight tensor_1\.weight was loaded"):
        _core.Engine(_core.GGUF(case.path), names, case.plan.for_core(), **limits)
