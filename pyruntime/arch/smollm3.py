"""SmolLM3 (huggingface.co/blog/smollm3): a llama whose every fourth layer has no positions (arXiv:2501.18795)."""

from __future__ import annotations

from pyruntime.arch.blocks import gated_ffn, logits, qkv, score_scale
from pyruntime.arch.hparams import HParams
from pyruntime.arch.rope import rotary
from pyruntime.plan import Plan, PlanBuilder, Value, Weights

NO_POSITIONS_EVERY = 4  # layers, which files do not say


def build(b: PlanBuilder, hp: HParams, w: Weights) -> Plan:
    eps = hp.number("attention.layer_norm_rms_epsilon")
    table = rotary(b, hp, w)
    x = b.embedding(w["token_embd"])  # (n_tokens, d_model)
    for i in range(hp.n_layers):
        layer = w.block(i)
        h = b.rms_norm(x, layer["attn_norm"], eps)
        h = attention(b, hp, layer, h, table if (i + 1) % NO_POSITIONS_EVERY else None)
        x = b.linear(h, layer["attn_output"], residual=x)
        h = b.rms_norm(x, layer["ffn_norm"], eps)
        x = gated_ffn(b, layer, h, residual=x)
    return b.finish(logits(b, hp, w, x, eps))


def attention(b: PlanBuilder, hp: HParams, layer: Weights, h: Value, table: Value | None) -> Value:
    q, k, v = qkv(b, hp, layer, h)
    if table is not None:
        q = b.rope(q, table, hp.head_dim, "norm")
        k = b.rope(k, table, hp.head_dim, "norm")
    return b.attention(q, k, v, hp.n_heads, hp.n_kv_heads, score_scale(hp))
