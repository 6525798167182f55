"""Qwen3-MoE (arXiv:2505.09388): queries and keys normed by head, and every feed-forward a mixture of experts."""

from __future__ import annotations

import math

from pyruntime.arch.blocks import experts, logits, normed_qk, qkv, routing
from pyruntime.arch.hparams import HParams
from pyruntime.arch.rope import rotary
from pyruntime.plan import Plan, PlanBuilder, Value, Weights


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


def attention(b: PlanBuilder, hp: HParams, layer: Weights, h: Value, table: Value) -> Value:
    q, k, v = qkv(b, hp, layer, h)
    q, k = normed_qk(b, hp, layer, q, k)
    q = b.rope(q, table, hp.head_dim, "neox")
    k = b.rope(k, table, hp.head_dim, "neox")
    return b.attention(q, k, v, hp.n_heads, hp.n_kv_heads, 1 / math.sqrt(hp.head_dim))
