"""Blocks that several families share. One that needs a seventh parameter is written out in its own file instead."""

from __future__ import annotations

from pyruntime.arch.hparams import HParams
from pyruntime.plan import PlanBuilder, Value, Weights


def gated_ffn(b: PlanBuilder, layer: Weights, h: Value, residual: Value) -> Value:
    """`residual + (silu(h gate) * (h up)) down`."""
    return b.linear(b.gated_ffn(h, layer["ffn_gate"], layer["ffn_up"]), layer["ffn_down"], residual)


def logits(b: PlanBuilder, hp: HParams, w: Weights, x: Value, eps: float) -> Value:
    """The final norm and the head, for the positions that want logits. Without an `output` the embedding's table is the head."""
    h = b.rms_norm(b.outputs(x), w["output_norm"], eps)
    return b.linear(h, w["output"] if "output" in w else w["token_embd"])
