"""Command R, R+ and Aya (Cohere, 2024): attention and feed-forward side by side, of one layer norm without bias; logits scaled.
R+ norms each head of q and k with weights of its own.
"""

from __future__ import annotations

from pyruntime.arch.blocks import gated_ffn, head, head_norm, qkv, score_scale
from pyruntime.arch.hparams import HParams
from pyruntime.arch.rope import rotary
from pyruntime.plan import Plan, PlanBuilder, Value, Weights


def build(b: PlanBuilder, hp: HParams, w: Weights) -> Plan:
    eps = hp.number("attention.layer_norm_epsilon")
    table = rotary(b, hp, w)
    x = b.embedding(w["token_embd"])  # (n_tokens, d_model)
    for i in range(hp.n_layers):
        layer = w.block(i)
        h = b.layer_norm(x, layer["attn_norm"], None, eps)
        x = b.linear(attention(b, hp, layer, h, table), layer["attn_output"], layer.bias("attn_output"), residual=x)
        x = gated_ffn(b, layer, h, residual=x)
    x = b.layer_norm(b.outputs(x), w["output_norm"], None, eps)
    return b.finish(b.scale(head(b, w, x), hp.number("logit_scale", 1.0)))


def attention(b: PlanBuilder, hp: HParams, layer: Weights, h: Value, table: Value) -> Value:
    q, k, v = qkv(b, hp, layer, h)
    q = b.rope(head_norm(b, hp, layer, "attn_q_norm", q), table, hp.head_dim, "norm")
    k = b.rope(head_norm(b, hp, layer, "attn_k_norm", k), table, hp.head_dim, "norm")
    return b.attention(q, k, v, hp.n_heads, hp.n_kv_heads, score_scale(hp))
