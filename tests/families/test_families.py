"""Every family without torch: the core against the interpreter, what a file must hold, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from budgets import FAMILIES_FLOAT32, worst_row

from families.case import Case
from families.catalogue import ALL, build, execute, weights
from pyruntime import _core
from pyruntime.errors import GGUFError, PyruntimeError
from pyruntime.plan import Weight
from pyruntime.plan.reference import from_gguf

ISAS = _core.available_isas()
CASES = pytest.mark.parametrize("case", ALL.values(), ids=ALL)


def of_one_layer(case: Case) -> list[str]:
    """The names of its tensors, without those of all layers but the last: they are alike."""
    last = f"blk.{case.metadata['block_count'] - 1}."
    return [name for name in case.shapes if not name.startswith("blk.") or name.startswith(last)]


@CASES
def test_the_core_computes_what_the_interpreter_says(case: Case, tmp_path: Path) -> None:
    path, ids = case.write(tmp_path / "a.gguf"), case.ids()
    interpreter = from_gguf(path)
    logits = execute(path, interpreter.plan, ids)
    assert worst_row(logits, interpreter.run(ids)) <= FAMILIES_FLOAT32
    assert execute(path, interpreter.plan, ids, chunk=7).tobytes() == logits.tobytes()


@CASES
def test_the_same_bits_on_every_instruction_set(case: Case, tmp_path: Path) -> None:
    path, ids = case.write(tmp_path / "a.gguf", "Q8_0"), case.ids(min(case.n_tokens, 70))
    plan = from_gguf(path).plan
    first, *others = (execute(path, plan, ids, chunk=33, isa=isa) for isa in ISAS)
    assert all(other.tobytes() == first.tobytes() for other in others)


@CASES
def test_every_tensor_is_used(case: Case) -> None:
    plan = build(case, weights(case))
    assert {*plan.weight_names, *plan.unused} == set(case.shapes)


@CASES
def test_a_missing_matrix_or_norm_is_named(case: Case) -> None:
    """A bias may be missing, an output too (the embedding's table is the head)."""
    for name in [n for n in of_one_layer(case) if n.endswith(".weight") and n not in case.optional]:
        named = f"{name}|{name.replace('attn_qkv', 'attn_q')}"  # three tensors would do as well
        with pytest.raises(GGUFError, match=rf"^tiny\.gguf: tensor ({named}) is missing"):
            build(case, {n: weight for n, weight in weights(case).items() if n != name})


@CASES
def test_a_wrong_shape_is_refused(case: Case) -> None:
    unused = build(case, weights(case)).unused
    for name in [n for n in of_one_layer(case) if n not in unused]:
        rows, *more = case.shapes[name]
        shapes = [(rows, *more, 3), (3, rows, *more)]
        tied = name == "token_embd.weight" and "output.weight" not in case.shapes
        if not tied and name != "position_embd.weight":  # else the vocabulary or the context is another
            shapes += [(rows + 1, *more), (rows - 1, *more)]
        for shape in shapes:
            with pytest.raises(PyruntimeError, match=r"^tiny\.gguf: "):
                build(case, weights(case) | {name: Weight(name, "F32", shape)})
