"""Llama (arXiv:2302.13971) and what shares its shape: Llama 2 and 3, Mistral, Mixtral (arXiv:2401.04088), SmolLM2, TinyLlama.

Pre-norm layers of grouped-query attention with rotary positions and a gated feed-forward, or a mixture of them. The rows of q
and k in a llama GGUF file are permuted so that rotary pairs are neighbours (mode "norm").
"""

from __future__ import annotations

import math

from pyruntime.arch.blocks import experts, gated_ffn, logits, qkv
from pyruntime.arch.hparams import HParams
from pyruntime.arch.rope import rotary
from pyruntime.plan import Plan, PlanBuilder, Routing, Value, Weights


def build(b: PlanBuilder, hp: HParams, w: Weights) -> Plan:
    eps = hp.number("attention.layer_norm_rms_epsilon")
    table = rotary(b, hp, w)
    x = b.embedding(w["token_embd"])  # (n_tokens, d_model)
    for i in range(hp.n_layers):
        layer = w.block(i)
        h = b.rms_norm(x, layer["attn_norm"], eps)
        x = b.linear(attention(b, hp, layer, h, table), layer["attn_output"], layer.bias("attn_output"), residual=x)
        h = b.rms_norm(x, layer["ffn_norm"], eps)
        if "ffn_gate_inp" in layer:
            routing = Routing(hp.integer("expert_used_count"), normalize=True)
            x = b.add(x, experts(b, layer, h, routing))
        else:
            x = gated_ffn(b, layer, h, residual=x)
    return b.finish(logits(b, hp, w, x, eps))


def attention(b: PlanBuilder, hp: HParams, layer: Weights, h: Value, table: Value) -> Value:
    q, k, v = qkv(b, hp, layer, h)
    q = b.rope(q, table, hp.head_dim, mode="norm")
    k = b.rope(k, table, hp.head_dim, mode="norm")
    window = hp.count("attention.sliding_window")
    return b.attention(q, k, v, hp.n_heads, hp.n_kv_heads, 1 / math.sqrt(hp.head_dim), window=window)
