"""Command R7B, A and Aya 2 (arXiv:2504.00698): as Command R, but three of four layers see a window, and the others, which see
everything, have no positions.
"""

from __future__ import annotations

from pyruntime.arch.blocks import gated_ffn, head, qkv, score_scale, windows
from pyruntime.arch.hparams import HParams
from pyruntime.arch.rope import rotary
from pyruntime.plan import Plan, PlanBuilder, Value, Weights


def build(b: PlanBuilder, hp: HParams, w: Weights) -> Plan:
    eps = hp.number("attention.layer_norm_epsilon")
    table = rotary(b, hp, w)
    x = b.embedding(w["token_embd"])  # (n_tokens, d_model)
    for i, window in enumerate(windows(hp, every=4)):
        layer = w.block(i)
        h = b.layer_norm(x, layer["attn_norm"], None, eps)
        a = attention(b, hp, layer, h, table, window)
        x = b.linear(a, layer["attn_output"], layer.bias("attn_output"), residual=x)
        x = gated_ffn(b, layer, h, residual=x)
    x = b.layer_norm(b.outputs(x), w["output_norm"], None, eps)
    return b.finish(b.scale(head(b, w, x), hp.number("logit_scale", 1.0)))


def attention(b: PlanBuilder, hp: HParams, layer: Weights, h: Value, table: Value, window: int) -> Value:
    q, k, v = qkv(b, hp, layer, h)
    if window:
        q = b.rope(q, table, hp.head_dim, "norm")
        k = b.rope(k, table, hp.head_dim, "norm")
    return b.attention(q, k, v, hp.n_heads, hp.n_kv_heads, score_scale(hp), window=window)
