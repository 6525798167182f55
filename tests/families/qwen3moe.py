"""Qwen3-MoE: q and k normed by head, experts in every layer, their weights normalized."""

from __future__ import annotations

from typing import Any

from families.case import ATTENTION, HEAD_DIM, NORMS, TIED, UNTIED, Case, blocks, hugging_face, metadata, rotary
from families.experts import COUNTS, D_EXPERT, EXPERTS, N_EXPERTS, N_USED, joined

METADATA = (
    metadata(
        attention__layer_norm_rms_epsilon=1e-6,
        attention__key_length=HEAD_DIM,
        attention__value_length=HEAD_DIM,
        rope__freq_base=7000.0,
    )
    | COUNTS
)
QK_NORMS = {"attn_q_norm.weight": (HEAD_DIM,), "attn_k_norm.weight": (HEAD_DIM,)}
LAYER = NORMS | ATTENTION | QK_NORMS | EXPERTS


def model(**changed: Any) -> Any:
    sizes = {
        "rms_norm_eps": 1e-6,
        "head_dim": HEAD_DIM,
        "rope_parameters": rotary(7000.0),
        "num_experts": N_EXPERTS,
        "num_experts_per_tok": N_USED,
        "moe_intermediate_size": D_EXPERT,
        "norm_topk_prob": True,
        "experts_implementation": "eager",
    }
    return hugging_face("Qwen3Moe", **sizes | changed)


CASES = {
    "plain": Case("qwen3moe", METADATA, UNTIED | blocks(LAYER), model, joined),
    "tied": Case("qwen3moe", METADATA, TIED | blocks(LAYER), lambda: model(tie_word_embeddings=True), joined),
}
