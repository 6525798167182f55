"""Phi-3, Phi-3.5 and Phi-4 (arXiv:2404.14219): q, k and v in one tensor, gate and up in another, and longrope
(arXiv:2402.13753): factors for the original context, and others for a longer one.

Which of them is decided once, by the context that was asked for: a text's cache must not depend on how long it gets, nor its
bits on how much of a default context the memory has room for.
"""

from __future__ import annotations

from pyruntime.arch.blocks import attention, fused_gated_ffn, logits
from pyruntime.arch.hparams import HParams
from pyruntime.arch.rope import scaling, theta
from pyruntime.plan import Plan, PlanBuilder, Value, Weights


def build(b: PlanBuilder, hp: HParams, w: Weights) -> Plan:
    eps = hp.number("attention.layer_norm_rms_epsilon")
    table = rotary(b, hp, w)
    x = b.embedding(w["token_embd"])  # (n_tokens, d_model)
    for i in range(hp.n_layers):
        layer = w.block(i)
        h = b.rms_norm(x, layer["attn_norm"], eps)
        x = b.linear(attention(b, hp, layer, h, table, "neox"), layer["attn_output"], residual=x)
        h = b.rms_norm(x, layer["ffn_norm"], eps)
        x = fused_gated_ffn(b, hp, layer, h, residual=x)
    return b.finish(logits(b, hp, w, x, eps))


def rotary(b: PlanBuilder, hp: HParams, w: Weights) -> Value:
    original = hp.integer("rope.scaling.original_context_length", hp.context_length, largest=1 << 31)
    short, long = (w.optional(f"rope_factors_{kind}") for kind in ("short", "long"))
    used, other = (long, short) if hp.context > original else (short, long)
    b.leave_out(other)
    return b.rope_table(hp.integer("rope.dimension_count", hp.head_dim), theta(hp), scaling(hp), used)
