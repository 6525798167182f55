"""OLMo 2 (arXiv:2501.00656) and Olmo 3 (arXiv:2512.13961), whose files say olmo2 too.

Norms stand after each half of a block, not before it, and q and k are normed over all of their heads. In Olmo 3 three of four
layers see a window, and only the others have yarn.
"""

from __future__ import annotations

from dataclasses import replace

from pyruntime.arch.blocks import gated_ffn, logits, qkv, score_scale, windows
from pyruntime.arch.hparams import HParams
from pyruntime.arch.rope import scaling, theta
from pyruntime.plan import Plan, PlanBuilder, Value, Weights


def build(b: PlanBuilder, hp: HParams, w: Weights) -> Plan:
    eps = hp.number("attention.layer_norm_rms_epsilon")
    n_rot = hp.integer("rope.dimension_count", hp.head_dim)
    stretch = scaling(hp)
    magnitude = hp.number(
        "rope.scaling.attn_factor", stretch.magnitude
    )  # all of it, where others multiply yarn's by it
    everything = b.rope_table(n_rot, theta(hp), replace(stretch, magnitude=magnitude))
    nearby = b.rope_table(n_rot, hp.number("rope.freq_base_swa", theta(hp)))
    x = b.embedding(w["token_embd"])  # (n_tokens, d_model)
    for i, window in enumerate(windows(hp, every=4)):
        layer = w.block(i)
        h = attention(b, hp, layer, x, nearby if window else everything, window)
        x = b.add(x, b.rms_norm(h, layer["post_attention_norm"], eps))
        h = gated_ffn(b, layer, x, None)
        x = b.add(x, b.rms_norm(h, layer["post_ffw_norm"], eps))
    return b.finish(logits(b, hp, w, x, eps))


def attention(b: PlanBuilder, hp: HParams, layer: Weights, x: Value, table: Value, window: int) -> Value:
    eps = hp.number("attention.layer_norm_rms_epsilon")
    q, k, v = qkv(b, hp, layer, x)
    q = b.rope(b.rms_norm(q, layer["attn_q_norm"], eps), table, hp.head_dim, "neox")
    k = b.rope(b.rms_norm(k, layer["attn_k_norm"], eps), table, hp.head_dim, "neox")
    h = b.attention(q, k, v, hp.n_heads, hp.n_kv_heads, score_scale(hp), window=window)
    return b.linear(h, layer["attn_output"])
