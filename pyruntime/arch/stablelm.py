"""StableLM 3B and 2 (arXiv:2402.17834): layer norms, a quarter of each head turns. The 12B norms each head of q and k with
weights of its own and has no second norm: attention and feed-forward stand side by side.
"""

from __future__ import annotations

from pyruntime.arch.blocks import gated_ffn, head, head_norm, layer_norm, qkv, score_scale
from pyruntime.arch.hparams import HParams
from pyruntime.arch.rope import rotary
from pyruntime.plan import Plan, PlanBuilder, Value, Weights


def build(b: PlanBuilder, hp: HParams, w: Weights) -> Plan:
    eps = hp.number("attention.layer_norm_epsilon")
    table = rotary(b, hp, w)
    x = b.embedding(w["token_embd"])  # (n_tokens, d_model)
    for i in range(hp.n_layers):
        layer = w.block(i)
        h = layer_norm(b, layer, "attn_norm", x, eps)
        x = b.linear(attention(b, hp, layer, h, table), layer["attn_output"], residual=x)
        if "ffn_norm" in layer:
            h = layer_norm(b, layer, "ffn_norm", x, eps)
        x = gated_ffn(b, layer, h, residual=x)
    return b.finish(head(b, w, layer_norm(b, w, "output_norm", b.outputs(x), eps)))


def attention(b: PlanBuilder, hp: HParams, layer: Weights, h: Value, table: Value) -> Value:
    q, k, v = qkv(b, hp, layer, h)
    q = b.rope(head_norm(b, hp, layer, "attn_q_norm", q), table, hp.head_dim, "neox")
    k = b.rope(head_norm(b, hp, layer, "attn_k_norm", k), table, hp.head_dim, "neox")
    return b.attention(q, k, v, hp.n_heads, hp.n_kv_heads, score_scale(hp))
