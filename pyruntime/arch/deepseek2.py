"""DeepSeek V2 (arXiv:2405.04434), V3 (arXiv:2412.19437), R1, Kimi K2: latent attention, many small experts and shared ones.

Keys and values of all heads are made from one short row a position, the latent, and one rotary key that all heads share. In the
compressed form that row is all the cache keeps: queries go through each head's `attn_k_b` to meet it, and what attention gives
goes through `attn_v_b`. Files of before 2025 have both in one `attn_kv_b`; there keys and values are made and kept in full.
"""

from __future__ import annotations

import math
from dataclasses import replace

from pyruntime.arch.blocks import experts, gated_ffn, logits, routing
from pyruntime.arch.hparams import HParams
from pyruntime.arch.rope import scaling, theta, yarn_magnitude
from pyruntime.plan import Plan, PlanBuilder, Routing, Value, Weights


def build(b: PlanBuilder, hp: HParams, w: Weights) -> Plan:
    eps = hp.number("attention.layer_norm_rms_epsilon")
    stretched = replace(scaling(hp), magnitude=1.0)  # two factors that cancel in all models of the family
    table = b.rope_table(hp.integer("rope.dimension_count"), theta(hp), stretched)
    n_dense = hp.count("leading_dense_block_count")
    x = b.embedding(w["token_embd"])
    for i in range(hp.n_layers):
        layer = w.block(i)
        h = b.rms_norm(x, layer["attn_norm"], eps)
        x = b.linear(attention(b, hp, layer, h, table), layer["attn_output"], residual=x)
        h = b.rms_norm(x, layer["ffn_norm"], eps)
        if i < n_dense:
            x = gated_ffn(b, layer, h, residual=x)
        else:
            x = gated_ffn(b, layer, h, residual=b.add(x, experts(b, layer, h, group_routing(hp))), suffix="_shexp")
    return b.finish(logits(b, hp, w, x, eps))


def group_routing(hp: HParams) -> Routing:
    """Only the best groups of experts take part. V2 and V3 have groups, which files of before 2026 do not say."""
    chosen = routing(hp)
    n_groups, n_used = {160: (8, 3), 256: (8, 4)}.get(hp.integer("expert_count"), (1, 1))
    n_groups = hp.integer("expert_group_count", n_groups)
    n_used = min(hp.integer("expert_group_used_count", n_used), n_groups)
    return replace(chosen, n_groups=n_groups, n_groups_used=n_used, group_top=2 if chosen.gating == "sigmoid" else 1)


def attention(b: PlanBuilder, hp: HParams, layer: Weights, h: Value, table: Value) -> Value:
    n, eps = hp.n_heads, hp.number("attention.layer_norm_rms_epsilon")
    head_dim = hp.integer("attention.key_length_mla", hp.head_dim)  # of a head's key, before it is compressed
    rank, n_rot = hp.integer("attention.kv_lora_rank"), table.width
    plain = head_dim - n_rot  # elements that do not turn, first in each head
    q = b.rope(queries(b, layer, h, eps), table, head_dim, "norm", first=plain)
    if layer["attn_kv_a_mqa"].shape != (rank + n_rot, h.width):
        hp.fail_shape(layer["attn_kv_a_mqa"], (rank + n_rot, h.width))
    shared = b.linear(h, layer["attn_kv_a_mqa"])
    latent = b.rms_norm(b.slice(shared, 0, rank), layer["attn_kv_a_norm"], eps)
    key = b.rope(b.slice(shared, rank, n_rot), table, n_rot, "norm")
    scale = score_scale(hp, head_dim)
    if "attn_kv_b" in layer:
        value_dim = hp.value_dim
        kv = b.linear(latent, layer["attn_kv_b"])  # of each head: keys, then values
        k = b.join_shared(b.slice(kv, 0, plain, n), key, n)
        return b.attention(q, k, b.slice(kv, plain, value_dim, n), n, n, scale)
    compressed = b.head_linear(b.slice(q, 0, plain, n), layer["attn_k_b"])  # (n * rank)
    q = b.join_heads(compressed, b.slice(q, plain, n_rot, n), n)
    y = b.latent_attention(q, b.join_heads(latent, key, 1), n, rank, scale)
    return b.head_linear(y, layer["attn_v_b"])


def queries(b: PlanBuilder, layer: Weights, h: Value, eps: float) -> Value:
    """Through a short row of their own, but in V2-Lite."""
    if "attn_q" in layer:
        return b.linear(h, layer["attn_q"])
    return b.linear(b.rms_norm(b.linear(h, layer["attn_q_a"]), layer["attn_q_a_norm"], eps), layer["attn_q_b"])


def score_scale(hp: HParams, head_dim: int) -> float:
    """1 / sqrt(head_dim), times the square of yarn's factor for scores. The file has a tenth of its multiplier."""
    factor, multiplier = hp.number("rope.scaling.factor", 1.0), hp.number_or_zero("rope.scaling.yarn_log_multiplier")
    magnitude = yarn_magnitude(factor, 10 * multiplier)
    return magnitude * magnitude / math.sqrt(head_dim)
