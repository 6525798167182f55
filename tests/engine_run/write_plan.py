#!/usr/bin/env python3
"""The reference logits of engine_run: write_plan.py MODEL FOLDER

Writes FOLDER/plan.txt, FOLDER/ids.txt and FOLDER/logits.bin, the last computed here by the installed pyruntime; `cmp` with what
engine_run writes shows whether another machine has the same bits.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import pyruntime
from pyruntime.plan import Plan

N_IDS = 65  # over a KV page, in steps of 19 and one of 8, which reads the packed weights directly; some 15 s under emulation


def as_text(plan: Plan) -> str:
    """The lines that main.cpp reads; floats in hexadecimal, exactly."""
    lines = [f"value {int(v.quantized)} {int(v.rows == 'outputs')} {v.width}" for v in plan.values]
    lines += [f"cache {c.n_kv_heads} {c.head_dim} {c.value_dim} {int(c.latent)}" for c in plan.caches]
    lines += [f"flat {name}" for name in sorted(plan.flat)]
    for s in plan.steps:
        groups: list[list[object]] = [list(s.inputs), list(s.outputs), list(s.weights)]
        words = [str(word) for group in groups for word in (len(group), *group)]
        attributes = [f"{name} {value.hex()}" for name, value in s.attributes.items()]
        lines.append(" ".join(["step", s.op, s.where, *words, str(len(attributes)), *attributes]))
    return "\n".join([*lines, f"logits {plan.logits}", ""])


def main() -> None:
    model_path, folder = sys.argv[1], Path(sys.argv[2])
    with pyruntime.Model(model_path) as model:
        ids = np.random.default_rng(2).integers(0, model.n_vocab, N_IDS)
        (folder / "plan.txt").write_text(as_text(model.plan))
        (folder / "ids.txt").write_text(" ".join(map(str, ids)))
        model.logits(ids).tofile(folder / "logits.bin")


if __name__ == "__main__":
    main()
