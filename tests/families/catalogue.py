"""All cases of all families, the plan of one, and the core's logits."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from families.case import Case
from pyruntime import _core, arch
from pyruntime.arch.hparams import HParams
from pyruntime.plan import Plan, PlanBuilder, Weight, Weights

FAMILIES: dict[str, dict[str, Case]] = {
    name: importlib.import_module(f"families.{name}").CASES for name in arch.names()
}
ALL: dict[str, Case] = {f"{family}-{name}": case for family, cases in FAMILIES.items() for name, case in cases.items()}


def weights(case: Case) -> dict[str, Weight]:
    """As a file would have them, in F32."""
    return {name: Weight(name, "F32", shape) for name, shape in case.shapes.items()}


def build(case: Case, given: Mapping[str, Weight], **changed: Any) -> Plan:
    """The plan of these tensors. changed: metadata, with "__" for "."; None leaves an entry out."""
    entries = {**case.metadata, **{key.replace("__", "."): value for key, value in changed.items()}}
    metadata = {f"{case.architecture}.{key}": value for key, value in entries.items() if value is not None}
    hparams = HParams(metadata, case.architecture, "tiny.gguf")
    return arch.find(case.architecture, "tiny.gguf")(PlanBuilder("tiny.gguf"), hparams, Weights(given, "tiny.gguf"))


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
