"""Gemma 3: windows and two rotary bases by layer, norms of q and k and after each half of a block, norms stored as 1 + w."""

from __future__ import annotations

from typing import Any

from families.case import (
    D_MODEL,
    GATED_FFN,
    N_HEADS,
    TIED,
    Case,
    Shapes,
    blocks,
    hugging_face,
    metadata,
    norms_less_one,
    rotary,
)

HEAD_DIM, N_LAYERS, WINDOW = 32, 7, 20
LAYER: Shapes = GATED_FFN | {
    "attn_norm.weight": (D_MODEL,),
    "attn_q.weight": (N_HEADS * HEAD_DIM, D_MODEL),
    "attn_q_norm.weight": (HEAD_DIM,),
    "attn_k.weight": (HEAD_DIM, D_MODEL),
    "attn_k_norm.weight": (HEAD_DIM,),
    "attn_v.weight": (HEAD_DIM, D_MODEL),
    "attn_output.weight": (D_MODEL, N_HEADS * HEAD_DIM),
    "post_attention_norm.weight": (D_MODEL,),
    "ffn_norm.weight": (D_MODEL,),
    "post_ffw_norm.weight": (D_MODEL,),
}
METADATA = metadata(
    block_count=N_LAYERS,
    attention__head_count_kv=1,
    attention__key_length=HEAD_DIM,
    attention__value_length=HEAD_DIM,
    attention__layer_norm_rms_epsilon=1e-6,
    attention__sliding_window=WINDOW,
    rope__freq_base=70000.0,
)


def case(extra: dict[str, Any], scaling: dict[str, Any] | None = None, every: int = 6, **changed: Any) -> Case:
    config = {
        "num_hidden_layers": N_LAYERS,
        "num_key_value_heads": 1,
        "head_dim": HEAD_DIM,
        "query_pre_attn_scalar": HEAD_DIM,
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention" if (i + 1) % every else "full_attention" for i in range(N_LAYERS)],
        "rope_parameters": {
            "full_attention": rotary(70000.0, **scaling or {}),
            "sliding_attention": rotary(10000.0),
        },
        "rms_norm_eps": 1e-6,
    }
    shapes = TIED | blocks(LAYER, n_layers=N_LAYERS)
    return Case("gemma3", METADATA | extra, shapes, lambda: hugging_face("Gemma3", **config | changed), norms_less_one)


SCALED = {"rope.scaling.type": "linear", "rope.scaling.factor": 8.0, "rope.freq_base_swa": 10000.0}

CASES = {
    "as most files are": case({}),
    "scaled global layers": case(SCALED, {"rope_type": "linear", "factor": 8.0}),
    "capped logits": case({"final_logit_softcapping": 4.0}, final_logit_softcapping=4.0),
    "another pattern": case({"attention.sliding_window_pattern": 3}, every=3),
    "the pattern as a list": case(
        {"attention.sliding_window_pattern": [(i + 1) % 2 != 0 for i in range(N_LAYERS)]}, every=2
    ),
}
