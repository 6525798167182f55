"""All cases of all families, and the core's logits of one."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from families.case import Case
from pyruntime import _core, arch
from pyruntime.plan import Plan

FAMILIES: dict[str, dict[str, Case]] = {
    name: importlib.import_module(f"families.{name}").CASES for name in arch.names()
}
ALL: dict[str, Case] = {f"{family}-{name}": case for family, cases in FAMILIES.items() for name, case in cases.items()}


def execute(path: Path, plan: Plan, ids: NDArray[np.int32], chunk: int = 512, isa: str = "") -> NDArray[np.float32]:
    """The core's logits (n, n_vocab), keys and values in float32, of steps of `chunk` tokens."""
    context = min(512, plan.max_context or 512)
    engine = _core.Engine(
        _core.GGUF(path),
        plan.weight_names,
        plan.for_core(),
        context=context,
        max_tokens=context,
        n_threads=2 if chunk > 1 else 1,
        kv_type="f32",
        kv_max_bytes=1 << 26,
        isa=isa,
    )
    assert engine.isa == isa or not isa
    sequence = engine.sequence()
    return np.concatenate([engine.step([(sequence, ids[at : at + chunk], 2)]) for at in range(0, len(ids), chunk)])
