"""Granite 3 (IBM, 2024): a llama with multipliers, of embeddings, scores and what a block adds, and a divisor of the logits."""

from __future__ import annotations

from pyruntime.arch.blocks import attention, gated_ffn, logits
from pyruntime.arch.hparams import HParams
from pyruntime.arch.rope import rotary
from pyruntime.plan import Plan, PlanBuilder, Weights


def build(b: PlanBuilder, hp: HParams, w: Weights) -> Plan:
    eps = hp.number("attention.layer_norm_rms_epsilon")
    residual_scale = hp.number("residual_scale", 1.0)
    table = rotary(b, hp, w)
    x = b.scale(b.embedding(w["token_embd"]), hp.number("embedding_scale", 1.0))
    for i in range(hp.n_layers):
        layer = w.block(i)
        h = b.rms_norm(x, layer["attn_norm"], eps)
        h = b.linear(attention(b, hp, layer, h, table, "norm"), layer["attn_output"], layer.bias("attn_output"))
        x = b.add(x, b.scale(h, residual_scale))
        h = b.rms_norm(x, layer["ffn_norm"], eps)
        x = b.add(x, b.scale(gated_ffn(b, layer, h, None), residual_scale))
    return b.finish(b.scale(logits(b, hp, w, x, eps), 1 / hp.number("logit_scale", 1.0)))
