"""gpt-oss (arXiv:2508.10925): experts with biases, attention with sinks, every other layer with a window, yarn."""

from __future__ import annotations

import math

from pyruntime.arch.blocks import logits, qkv, windows
from pyruntime.arch.hparams import HParams
from pyruntime.arch.rope import scaling, theta
from pyruntime.plan import Plan, PlanBuilder, Routing, Value, Weights


def build(b: PlanBuilder, hp: HParams, w: Weights) -> Plan:
    eps = hp.number("attention.layer_norm_rms_epsilon")
    table = b.rope_table(hp.head_dim, theta(hp), scaling(hp, truncate=False))
    x = b.embedding(w["token_embd"])
    for i, window in enumerate(windows(hp, every=2)):
        layer = w.block(i)
        h = b.rms_norm(x, layer["attn_norm"], eps)
        h = attention(b, hp, layer, h, table, window)
        x = b.linear(h, layer["attn_output"], layer.bias("attn_output"), residual=x)
        h = b.rms_norm(x, layer["post_attention_norm"], eps)
        x = b.add(x, experts(b, hp, layer, h))
    return b.finish(logits(b, hp, w, x, eps))


def attention(b: PlanBuilder, hp: HParams, layer: Weights, h: Value, table: Value, window: int) -> Value:
    q, k, v = qkv(b, hp, layer, h)
    q = b.rope(q, table, hp.head_dim, "neox")
    k = b.rope(k, table, hp.head_dim, "neox")
    scale, sinks = 1 / math.sqrt(hp.head_dim), layer["attn_sinks"]
    return b.attention(q, k, v, hp.n_heads, hp.n_kv_heads, scale, window=window, sinks=sinks)


def experts(b: PlanBuilder, hp: HParams, layer: Weights, h: Value) -> Value:
    """Chosen by their logits, weighed by a softmax over the chosen ones."""
    gate, up, down = (f"ffn_{name}_exps" for name in ("gate", "up", "down"))
    router = b.linear(h, layer["ffn_gate_inp"], layer.bias("ffn_gate_inp"))
    routes = b.route(router, Routing(hp.integer("expert_used_count"), "softmax_of_chosen"))
    biases = layer.tensor(f"{gate}.bias"), layer.tensor(f"{up}.bias")
    hidden = b.experts_gated(h, routes, layer[gate], layer[up], "swiglu_oai", biases)
    return b.combine(b.experts_linear(hidden, routes, layer[down], layer.tensor(f"{down}.bias")), routes)
