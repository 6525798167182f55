"""Llama (arXiv:2302.13971) and what shares its shape: Llama 2, Mistral, SmolLM2, TinyLlama.

Pre-norm layers of grouped-query attention with rotary positions and a gated feed-forward. The rows of q and k in a llama
GGUF file are permuted so that rotary pairs are neighbours (mode "norm").
"""

from __future__ import annotations

import math

from pyruntime.arch.blocks import gated_ffn, logits
from pyruntime.arch.hparams import HParams
from pyruntime.errors import UnsupportedError, shown_name
from pyruntime.plan import Plan, PlanBuilder, Value, Weights


def build(b: PlanBuilder, hp: HParams, w: Weights) -> Plan:
    refuse_what_would_be_wrong(hp, w)
    eps = hp.number("attention.layer_norm_rms_epsilon")
    rotary = b.rope_table(hp.integer("rope.dimension_count", hp.head_dim), hp.number("rope.freq_base", 10000.0))
    x = b.embedding(w["token_embd"])  # (n_tokens, d_model)
    for i in range(hp.n_layers):
        layer = w.block(i)
        h = b.rms_norm(x, layer["attn_norm"], eps)
        x = b.linear(attention(b, hp, layer, h, rotary), layer["attn_output"], residual=x)
        h = b.rms_norm(x, layer["ffn_norm"], eps)
        x = gated_ffn(b, layer, h, residual=x)
    return b.finish(logits(b, hp, w, x, eps))


def attention(b: PlanBuilder, hp: HParams, layer: Weights, h: Value, rotary: Value) -> Value:
    q, k, v = b.linear_many(h, [layer["attn_q"], layer["attn_k"], layer["attn_v"]])
    q = b.rope(q, rotary, hp.head_dim, mode="norm")
    k = b.rope(k, rotary, hp.head_dim, mode="norm")
    if q.width != hp.n_heads * hp.head_dim:
        hp.fail("attention.head_count", f"{hp.n_heads} heads of {hp.head_dim} do not make the {q.width} rows of attn_q")
    return b.attention(q, k, v, hp.n_heads, hp.n_kv_heads, scale=1 / math.sqrt(hp.head_dim))


def refuse_what_would_be_wrong(hp: HParams, w: Weights) -> None:
    """Features of llama files that this version does not compute: refused, never ignored."""
    scaling = hp.text("rope.scaling.type", "none")
    if scaling != "none" or "rope_freqs" in w:
        raise UnsupportedError(f"{hp.path}: rope scaling ({shown_name(scaling)}) is not supported by this version")
    if hp.number("rope.scale_linear", 1.0) != 1:
        raise UnsupportedError(f"{hp.path}: rope scaling (scale_linear) is not supported by this version")
    if hp.count("expert_count"):
        raise UnsupportedError(f"{hp.path}: mixture of experts is not supported by this version")
