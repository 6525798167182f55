"""DeepSeek V2, V3 and what shares their shape: latent attention, compressed and in full; groups of experts; yarn."""

from __future__ import annotations

from typing import Any

import numpy as np

from families.case import (
    D_MODEL,
    GATED_FFN,
    N_HEADS,
    NORMS,
    OPTIONAL,
    UNTIED,
    Case,
    Shapes,
    Tensors,
    blocks,
    hugging_face,
    metadata,
    rotary,
)
from families.experts import COUNTS, D_EXPERT, EXPERTS, N_EXPERTS, N_USED, joined, shared

PLAIN, TURNING, VALUE, Q_RANK, RANK, THETA = 32, 16, 40, 64, 96, 7000.0
SIZES = (
    metadata(
        attention__layer_norm_rms_epsilon=1e-6,
        attention__kv_lora_rank=RANK,
        rope__freq_base=THETA,
        rope__dimension_count=TURNING,
        leading_dense_block_count=1,
        expert_weights_scale=2.5,
    )
    | COUNTS
)
COMPRESSED = SIZES | {
    "attention.head_count_kv": 1,
    "attention.key_length": RANK + TURNING,
    "attention.value_length": RANK,
    "attention.key_length_mla": PLAIN + TURNING,
    "attention.value_length_mla": VALUE,
}
IN_FULL = SIZES | {
    "attention.head_count_kv": N_HEADS,
    "attention.key_length": PLAIN + TURNING,
    "attention.value_length": VALUE,
}
GROUPS = {"expert_group_count": 4, "expert_group_used_count": 2}
SIGMOID = {"expert_gating_func": 2, "expert_weights_norm": True}
YARN = {
    "rope.scaling.type": "yarn",
    "rope.scaling.factor": 4.0,
    "rope.scaling.original_context_length": 32,
    "rope.scaling.yarn_log_multiplier": 0.1,
}
LATENT: Shapes = {
    "attn_kv_a_mqa.weight": (RANK + TURNING, D_MODEL),
    "attn_kv_a_norm.weight": (RANK,),
    "attn_output.weight": (D_MODEL, N_HEADS * VALUE),
}
BY_HEAD: Shapes = {"attn_k_b.weight": (N_HEADS, RANK, PLAIN), "attn_v_b.weight": (N_HEADS, VALUE, RANK)}
TOGETHER: Shapes = {"attn_kv_b.weight": (N_HEADS * (PLAIN + VALUE), RANK)}
QUERIES: Shapes = {
    "attn_q_a.weight": (Q_RANK, D_MODEL),
    "attn_q_a_norm.weight": (Q_RANK,),
    "attn_q_b.weight": (N_HEADS * (PLAIN + TURNING), Q_RANK),
}
LITE_QUERIES: Shapes = {"attn_q.weight": (N_HEADS * (PLAIN + TURNING), D_MODEL)}
BIAS: Shapes = {"exp_probs_b.bias": (N_EXPERTS,)}


def shapes(*attention: Shapes, bias: Shapes | None = None) -> Shapes:
    every = {name: shape for part in attention for name, shape in part.items()} | NORMS | LATENT
    second = every | EXPERTS | shared(2 * D_EXPERT) | (bias or {})
    return UNTIED | blocks(every, GATED_FFN, n_layers=1) | {f"blk.1.{name}": shape for name, shape in second.items()}


def model(version: str, **changed: Any) -> Any:
    sizes = {
        "rms_norm_eps": 1e-6,
        "rope_parameters": rotary(THETA),
        "n_routed_experts": N_EXPERTS,
        "num_experts_per_tok": N_USED,
        "moe_intermediate_size": D_EXPERT,
        "n_shared_experts": 2,
        "first_k_dense_replace": 1,
        "q_lora_rank": Q_RANK,
        "kv_lora_rank": RANK,
        "qk_nope_head_dim": PLAIN,
        "qk_rope_head_dim": TURNING,
        "v_head_dim": VALUE,
        "num_key_value_heads": N_HEADS,
        "routed_scaling_factor": 2.5,
        "n_group": 1,
        "topk_group": 1,
        "experts_implementation": "eager",
    }
    return hugging_face(f"Deepseek{version}", **sizes | changed)


def to_hugging_face(tensors: Tensors) -> Tensors:
    """Keys and values of each head one after the other, in one tensor."""
    result = joined(tensors)
    for name in [n for n in result if "attn_k_b" in n]:
        k, v = result.pop(name), result.pop(name.replace("attn_k_b", "attn_v_b"))
        both = np.concatenate([k.swapaxes(1, 2), v], axis=1)
        result[name.replace("attn_k_b", "attn_kv_b")] = both.reshape(-1, RANK)
    if "blk.1.exp_probs_b.bias" in result:
        result["model.layers.1.mlp.gate.e_score_correction_bias"] = result.pop("blk.1.exp_probs_b.bias")
    return result


def case(extra: dict[str, Any], tensors: Shapes, version: str, **changed: Any) -> Case:
    # A file without attn_q is taken for one with attn_q_a, one without attn_kv_b for one with attn_k_b.
    optional = OPTIONAL | {f"blk.{i}.{name}.weight" for i in (0, 1) for name in ("attn_q", "attn_kv_b")}
    return Case("deepseek2", extra, tensors, lambda: model(version, **changed), to_hugging_face, optional=optional)


STRETCHED = {
    "rope_type": "yarn",
    "rope_theta": THETA,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
}
LIMITED = {"n_group": 4, "topk_group": 2}

CASES = {
    "v2 lite, in full": case(IN_FULL, shapes(LITE_QUERIES, TOGETHER), "V2", q_lora_rank=None),
    "v2, groups": case(
        COMPRESSED | GROUPS, shapes(QUERIES, BY_HEAD), "V2", topk_method="group_limited_greedy", **LIMITED
    ),
    "v3": case(
        COMPRESSED | GROUPS | SIGMOID | YARN,
        shapes(QUERIES, BY_HEAD, bias=BIAS),
        "V3",
        rope_parameters=STRETCHED,
        **LIMITED,
    ),
    "kimi k2: one group": case(COMPRESSED | SIGMOID, shapes(QUERIES, BY_HEAD, bias=BIAS), "V3"),
}
