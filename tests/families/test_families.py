"""Every family without torch: what a file must hold, and what is refused."""

from __future__ import annotations

import pytest

from families.case import Case
from families.catalogue import ALL
from pyruntime import arch
from pyruntime.arch.hparams import HParams
from pyruntime.errors import GGUFError, PyruntimeError
from pyruntime.plan import Plan, PlanBuilder, Weight, Weights

CASES = pytest.mark.parametrize("case", ALL.values(), ids=ALL)


def build(case: Case, tensors: dict[str, Weight]) -> Plan:
    metadata = {f"{case.architecture}.{key}": value for key, value in case.metadata.items()}
    hparams = HParams(metadata, case.architecture, "tiny.gguf")
    return arch.find(case.architecture, "tiny.gguf")(PlanBuilder("tiny.gguf"), hparams, Weights(tensors, "tiny.gguf"))


def tensors(case: Case) -> dict[str, Weight]:
    return {name: Weight(name, "F32", shape) for name, shape in case.shapes.items()}


@CASES
def test_every_tensor_is_used(case: Case) -> None:
    plan = build(case, tensors(case))
    assert {*plan.weight_names, *plan.unused} == set(case.shapes)


@CASES
def test_a_missing_matrix_or_norm_is_named(case: Case) -> None:
    """A bias may be missing, an output too (the embedding's table is the head)."""
    for name in [n for n in case.shapes if n.endswith(".weight") and n not in case.optional]:
        named = f"{name}|{name.replace('attn_qkv', 'attn_q')}"  # three tensors would do as well
        with pytest.raises(GGUFError, match=rf"^tiny\.gguf: tensor ({named}) is missing"):
            build(case, {n: weight for n, weight in tensors(case).items() if n != name})


@CASES
def test_a_wrong_shape_is_refused(case: Case) -> None:
    unused = build(case, tensors(case)).unused
    last = f"blk.{case.metadata['block_count'] - 1}."
    for name, (rows, *more) in case.shapes.items():
        if name in unused or (name.startswith("blk.") and not name.startswith(last)):  # layers are alike
            continue
        shapes = [(rows, *more, 3), (3, rows, *more)]
        tied = name == "token_embd.weight" and "output.weight" not in case.shapes
        if not tied and name != "position_embd.weight":  # else the vocabulary or the context is another
            shapes += [(rows + 1, *more), (rows - 1, *more)]
        for shape in shapes:
            with pytest.raises(PyruntimeError, match=r"^tiny\.gguf: "):
                build(case, tensors(case) | {name: Weight(name, "F32", shape)})
