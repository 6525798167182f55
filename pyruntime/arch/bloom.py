"""BLOOM (arXiv:2211.05100): alibi (arXiv:2108.12409) for positions, layer norms, also of the embeddings, and biases."""

from __future__ import annotations

from pyruntime.arch.blocks import head, layer_norm, plain_ffn, qkv, score_scale
from pyruntime.arch.hparams import HParams
from pyruntime.plan import Plan, PlanBuilder, Value, Weights

LARGEST_BIAS = 8.0  # which most files do not say


def build(b: PlanBuilder, hp: HParams, w: Weights) -> Plan:
    eps = hp.number("attention.layer_norm_epsilon")
    x = layer_norm(b, w, "token_embd_norm", b.embedding(w["token_embd"]), eps)
    for i in range(hp.n_layers):
        layer = w.block(i)
        h = attention(b, hp, layer, layer_norm(b, layer, "attn_norm", x, eps))
        x = b.linear(h, layer["attn_output"], layer.bias("attn_output"), residual=x)
        h = layer_norm(b, layer, "ffn_norm", x, eps)
        x = plain_ffn(b, layer, h, x, "gelu_tanh")
    return b.finish(head(b, w, layer_norm(b, w, "output_norm", b.outputs(x), eps)))


def attention(b: PlanBuilder, hp: HParams, layer: Weights, h: Value) -> Value:
    q, k, v = qkv(b, hp, layer, h)
    alibi = hp.number("attention.max_alibi_bias", LARGEST_BIAS)
    return b.attention(q, k, v, hp.n_heads, hp.n_kv_heads, score_scale(hp), alibi=alibi)
