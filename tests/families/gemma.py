"""Gemma: scaled embeddings, heads wider than d_model / n_heads, norms stored as 1 + w."""

from __future__ import annotations

from families.case import (
    D_MODEL,
    GATED_FFN,
    N_HEADS,
    NORMS,
    TIED,
    Case,
    Shapes,
    blocks,
    hugging_face,
    metadata,
    norms_less_one,
    rotary,
)

HEAD_DIM = 32
ATTENTION: Shapes = {
    "attn_q.weight": (N_HEADS * HEAD_DIM, D_MODEL),
    "attn_k.weight": (HEAD_DIM, D_MODEL),
    "attn_v.weight": (HEAD_DIM, D_MODEL),
    "attn_output.weight": (D_MODEL, N_HEADS * HEAD_DIM),
}
METADATA = metadata(
    attention__head_count_kv=1,
    attention__key_length=HEAD_DIM,
    attention__value_length=HEAD_DIM,
    attention__layer_norm_rms_epsilon=1e-6,
)
CONFIG = {
    "num_key_value_heads": 1,
    "head_dim": HEAD_DIM,
    "rms_norm_eps": 1e-6,
    "rope_parameters": rotary(10000.0),
    "tie_word_embeddings": True,
    "hidden_act": "gelu_pytorch_tanh",
}

CASES = {
    "one key-value head": Case(
        "gemma",
        METADATA,
        TIED | blocks(NORMS, ATTENTION, GATED_FFN),
        lambda: hugging_face("Gemma", **CONFIG),
        norms_less_one,
    ),
}
