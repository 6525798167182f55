"""Qwen2-MoE: biases on q, k and v; experts, and a shared one with a gate of its own."""

from __future__ import annotations

from typing import Any

from families.case import (
    ATTENTION,
    D_MODEL,
    NORMS,
    UNTIED,
    Case,
    Tensors,
    biases,
    blocks,
    hugging_face,
    metadata,
    rotary,
)
from families.experts import COUNTS, D_EXPERT, EXPERTS, N_EXPERTS, N_USED, joined, shared

METADATA = (
    metadata(
        attention__layer_norm_rms_epsilon=1e-6,
        attention__key_length=24,
        attention__value_length=24,
        rope__freq_base=7000.0,
        expert_shared_feed_forward_length=128,
    )
    | COUNTS
)
LAYER = NORMS | ATTENTION | biases(ATTENTION, "attn_q", "attn_k", "attn_v") | EXPERTS | shared(128)
GATE = {"ffn_gate_inp_shexp.weight": (D_MODEL,)}  # a vector


def model(**changed: Any) -> Any:
    sizes = {
        "rms_norm_eps": 1e-6,
        "head_dim": 24,
        "rope_parameters": rotary(7000.0),
        "num_experts": N_EXPERTS,
        "num_experts_per_tok": N_USED,
        "moe_intermediate_size": D_EXPERT,
        "shared_expert_intermediate_size": 128,
        "experts_implementation": "eager",
    }
    return hugging_face("Qwen2Moe", **sizes | changed)


def to_hugging_face(tensors: Tensors) -> Tensors:
    return {name: t[None] if "inp_shexp" in name else t for name, t in joined(tensors).items()}


def case(extra: dict[str, Any], **changed: Any) -> Case:
    return Case("qwen2moe", METADATA | extra, UNTIED | blocks(LAYER, GATE), lambda: model(**changed), to_hugging_face)


CASES = {
    "plain": case({}),
    "normalized weights": case({"expert_weights_norm": True}, norm_topk_prob=True),
}
