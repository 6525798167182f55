"""Each family against transformers, on a tiny random model: the interpreter in float64, then the core in float32."""

from __future__ import annotations

from pathlib import Path

import pytest
from budgets import FAMILIES_FLOAT32, worst_row

from families.case import Case
from families.catalogue import ALL, execute
from pyruntime.plan.reference import from_gguf

pytestmark = pytest.mark.reference


@pytest.mark.parametrize("case", ALL.values(), ids=ALL)
def test_the_same_logits(case: Case, tmp_path: Path) -> None:
    from families.hugging_face import logits

    path, ids = case.write(tmp_path / "a.gguf"), case.ids()
    expected = logits(case, ids)
    assert 0.5 < expected.std() < 20
    interpreter = from_gguf(path)
    assert worst_row(interpreter.run(ids), expected) <= case.tolerance
    assert worst_row(execute(path, interpreter.plan, ids), expected) <= FAMILIES_FLOAT32 + case.tolerance
