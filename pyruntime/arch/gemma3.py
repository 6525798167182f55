"""Gemma 3 (arXiv:2503.19786), its text part.

Five layers see a window and turn with a short rotary base, every sixth sees everything with a long one. Queries and keys are
normed, and so is what each half of a block gives, before it is added. (Gemma's norms multiply by 1 + w; GGUF holds the sum.)
"""

from __future__ import annotations

import math

from pyruntime.arch.blocks import gated_ffn, logits, normed_qk, qkv, windows
from pyruntime.arch.hparams import HParams
from pyruntime.arch.rope import rotary
from pyruntime.plan import Plan, PlanBuilder, Value, Weights

SHORT_BASE = 10000.0  # of the layers with a window, which files do not say


def build(b: PlanBuilder, hp: HParams, w: Weights) -> Plan:
    eps = hp.number("attention.layer_norm_rms_epsilon")
    everything = rotary(b, hp, w)
    nearby = b.rope_table(hp.head_dim, hp.number("rope.freq_base_swa", SHORT_BASE))
    x = b.scale(b.embedding(w["token_embd"]), math.sqrt(hp.d_model))
    for i, window in enumerate(windows(hp, every=6)):
        layer = w.block(i)
        h = b.rms_norm(x, layer["attn_norm"], eps)
        h = attention(b, hp, layer, h, nearby if window else everything, window)
        x = b.add(x, b.rms_norm(h, layer["post_attention_norm"], eps))
        h = b.rms_norm(x, layer["ffn_norm"], eps)
        h = gated_ffn(b, layer, h, None, "gelu_tanh")
        x = b.add(x, b.rms_norm(h, layer["post_ffw_norm"], eps))
    return b.finish(b.softcap(logits(b, hp, w, x, eps), hp.number_or_zero("final_logit_softcapping")))


def attention(b: PlanBuilder, hp: HParams, layer: Weights, h: Value, table: Value, window: int) -> Value:
    q, k, v = qkv(b, hp, layer, h)
    q, k = normed_qk(b, hp, layer, q, k)
    q = b.rope(q, table, hp.head_dim, "neox")
    k = b.rope(k, table, hp.head_dim, "neox")
    h = b.attention(q, k, v, hp.n_heads, hp.n_kv_heads, query_scale(hp), window=window)
    return b.linear(h, layer["attn_output"])


def query_scale(hp: HParams) -> float:
    """1 / sqrt(head_dim); the 27B model takes its width by heads instead, which files do not say."""
    width = hp.d_model / hp.n_heads if hp.n_layers == 62 else hp.head_dim
    return hp.number("attention.scale", 1 / math.sqrt(width))
