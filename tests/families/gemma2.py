"""Gemma 2: soft caps, every other layer with a window, norms after each half of a block."""

from __future__ import annotations

from typing import Any

from families.case import (
    D_MODEL,
    GATED_FFN,
    N_HEADS,
    N_KV_HEADS,
    TIED,
    Case,
    Shapes,
    blocks,
    hugging_face,
    metadata,
    norms_less_one,
    rotary,
)

HEAD_DIM, N_LAYERS, WINDOW = 32, 3, 20
LAYER: Shapes = GATED_FFN | {
    "attn_norm.weight": (D_MODEL,),
    "attn_q.weight": (N_HEADS * HEAD_DIM, D_MODEL),
    "attn_k.weight": (N_KV_HEADS * HEAD_DIM, D_MODEL),
    "attn_v.weight": (N_KV_HEADS * HEAD_DIM, D_MODEL),
    "attn_output.weight": (D_MODEL, N_HEADS * HEAD_DIM),
    "post_attention_norm.weight": (D_MODEL,),
    "ffn_norm.weight": (D_MODEL,),
    "post_ffw_norm.weight": (D_MODEL,),
}


def case(n_layers: int = N_LAYERS, scalar: float = HEAD_DIM, score_cap: float = 1.5, cap: float = 4.0) -> Case:
    """0 in metadata is no cap."""
    keys = metadata(
        block_count=n_layers,
        attention__key_length=HEAD_DIM,
        attention__value_length=HEAD_DIM,
        attention__layer_norm_rms_epsilon=1e-6,
        attention__sliding_window=WINDOW,
        attn_logit_softcapping=score_cap,
        final_logit_softcapping=cap,
    )
    config: dict[str, Any] = {
        "num_hidden_layers": n_layers,
        "head_dim": HEAD_DIM,
        "query_pre_attn_scalar": scalar,
        "sliding_window": WINDOW,
        "attn_logit_softcapping": score_cap or None,
        "final_logit_softcapping": cap or None,
        "rms_norm_eps": 1e-6,
        "rope_parameters": rotary(10000.0),
        "tie_word_embeddings": True,
    }
    shapes = TIED | blocks(LAYER, n_layers=n_layers)
    n_tokens = 100 if n_layers < 10 else 30
    return Case("gemma2", keys, shapes, lambda: hugging_face("Gemma2", **config), norms_less_one, n_tokens)


CASES = {
    "caps": case(),
    "no caps": case(score_cap=0.0, cap=0.0),
    "as many layers as the 27B": case(n_layers=46, scalar=D_MODEL // N_HEADS),
}
