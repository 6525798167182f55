"""Qwen3: norms of the heads of q and k, heads wider than d_model / n_heads."""

from __future__ import annotations

from families.case import (
    D_MODEL,
    GATED_FFN,
    N_HEADS,
    N_KV_HEADS,
    NORMS,
    TIED,
    Case,
    Shapes,
    blocks,
    hugging_face,
    metadata,
    rotary,
)

HEAD_DIM = 32
LAYER: Shapes = {
    "attn_q.weight": (N_HEADS * HEAD_DIM, D_MODEL),
    "attn_q_norm.weight": (HEAD_DIM,),
    "attn_k.weight": (N_KV_HEADS * HEAD_DIM, D_MODEL),
    "attn_k_norm.weight": (HEAD_DIM,),
    "attn_v.weight": (N_KV_HEADS * HEAD_DIM, D_MODEL),
    "attn_output.weight": (D_MODEL, N_HEADS * HEAD_DIM),
}
METADATA = metadata(
    attention__layer_norm_rms_epsilon=1e-6,
    attention__key_length=HEAD_DIM,
    attention__value_length=HEAD_DIM,
    rope__freq_base=9000.0,
)
CONFIG = {"rms_norm_eps": 1e-6, "head_dim": HEAD_DIM, "rope_parameters": rotary(9000.0), "tie_word_embeddings": True}

CASES = {
    "tied": Case("qwen3", METADATA, TIED | blocks(NORMS, LAYER, GATED_FFN), lambda: hugging_face("Qwen3", **CONFIG)),
}
