"""Ministral 3 (arXiv:2601.08584): a llama with yarn, whose queries grow with the logarithm of their position.

The queries' table of cosines and sines holds that growth, so each head must turn as a whole.
"""

from __future__ import annotations

from dataclasses import replace

from pyruntime.arch.blocks import gated_ffn, logits, qkv, score_scale
from pyruntime.arch.hparams import HParams
from pyruntime.arch.rope import scaling, theta, yarn_magnitude
from pyruntime.plan import Plan, PlanBuilder, RopeScaling, Weights


def build(b: PlanBuilder, hp: HParams, w: Weights) -> Plan:
    eps = hp.number("attention.layer_norm_rms_epsilon")
    n_rot = hp.integer("rope.dimension_count", hp.head_dim, smallest=hp.head_dim, largest=hp.head_dim)
    stretch = yarn(hp)
    key_table = b.rope_table(n_rot, theta(hp), stretch)
    query_table = b.rope_table(n_rot, theta(hp), warmer(hp, stretch))
    x = b.embedding(w["token_embd"])  # (n_tokens, d_model)
    for i in range(hp.n_layers):
        layer = w.block(i)
        h = b.rms_norm(x, layer["attn_norm"], eps)
        q, k, v = qkv(b, hp, layer, h)
        q = b.rope(q, query_table, hp.head_dim, "norm")
        k = b.rope(k, key_table, hp.head_dim, "norm")
        h = b.attention(q, k, v, hp.n_heads, hp.n_kv_heads, score_scale(hp))
        x = b.linear(h, layer["attn_output"], residual=x)
        h = b.rms_norm(x, layer["ffn_norm"], eps)
        x = gated_ffn(b, layer, h, residual=x)
    return b.finish(logits(b, hp, w, x, eps))


def yarn(hp: HParams) -> RopeScaling:
    """Without yarn's factor of scores, or with some of it: transformers' mscale (1) over mscale_all_dim."""
    stretch = scaling(hp)
    return replace(
        stretch,
        magnitude=stretch.magnitude
        / yarn_magnitude(stretch.factor, hp.number_or_zero("rope.scaling.yarn_log_multiplier")),
    )


def warmer(hp: HParams, stretch: RopeScaling) -> RopeScaling:
    temperature = hp.number_or_zero("attention.temperature_scale")
    length = hp.integer("attention.temperature_length", stretch.original_context or hp.context_length, largest=1 << 31)
    return replace(stretch, temperature=temperature, temperature_length=length) if temperature else stretch
