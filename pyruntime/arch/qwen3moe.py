"""Qwen3-MoE (arXiv:2505.09388): queries and keys normed by head, and every feed-forward a mixture of experts."""

from __future__ import annotations

from pyruntime.arch.blocks import experts, logits, routing
from pyruntime.arch.hparams import HParams
from pyruntime.arch.qwen3 import attention
from pyruntime.arch.rope import rotary
from pyruntime.plan import Plan, PlanBuilder, Weights


def build(b: PlanBuilder, hp: HParams, w: Weights) -> Plan:
    eps = hp.number("attention.layer_norm_rms_epsilon")
    table = rotary(b, hp, w)
    x = b.embedding(w["token_embd"])
    for i in range(hp.n_layers):
        layer = w.block(i)
        h = b.rms_norm(x, layer["attn_norm"], eps)
        x = b.linear(attention(b, hp, layer, h, table), layer["attn_output"], residual=x)
        h = b.rms_norm(x, layer["ffn_norm"], eps)
        x = b.add(x, experts(b, layer, h, routing(hp, normalize=True)))
    return b.finish(logits(b, hp, w, x, eps))
