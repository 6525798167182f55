"""Gemma (arXiv:2403.08295): embeddings scaled by sqrt(d_model), heads wider than d_model / n_heads, gelu in the feed-forward.

Gemma's norms multiply by 1 + w; GGUF holds the sum.
"""

from __future__ import annotations

import math

from pyruntime.arch.blocks import attention, gated_ffn, logits
from pyruntime.arch.hparams import HParams
from pyruntime.arch.rope import rotary
from pyruntime.plan import Plan, PlanBuilder, Weights


def build(b: PlanBuilder, hp: HParams, w: Weights) -> Plan:
    eps = hp.number("attention.layer_norm_rms_epsilon")
    table = rotary(b, hp, w)
    x = b.scale(b.embedding(w["token_embd"]), math.sqrt(hp.d_model))
    for i in range(hp.n_layers):
        layer = w.block(i)
        h = b.rms_norm(x, layer["attn_norm"], eps)
        x = b.linear(attention(b, hp, layer, h, table, "neox"), layer["attn_output"], residual=x)
        h = b.rms_norm(x, layer["ffn_norm"], eps)
        x = gated_ffn(b, layer, h, x, "gelu_tanh")
    return b.finish(logits(b, hp, w, x, eps))
