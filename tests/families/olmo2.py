"""OLMo 2: norms after each half of a block, and of all of q and k. Olmo 3: windows, and yarn in the other layers."""

from __future__ import annotations

from typing import Any

from families.case import (
    ATTENTION,
    D_MODEL,
    GATED_FFN,
    HEAD_DIM,
    N_HEADS,
    N_KV_HEADS,
    UNTIED,
    Case,
    Shapes,
    blocks,
    hugging_face,
    metadata,
    rotary,
)

NORMS: Shapes = {
    "attn_q_norm.weight": (N_HEADS * HEAD_DIM,),
    "attn_k_norm.weight": (N_KV_HEADS * HEAD_DIM,),
    "post_attention_norm.weight": (D_MODEL,),
    "post_ffw_norm.weight": (D_MODEL,),
}
OLMO3_LAYERS, WINDOW = 5, 20


def keys(**more: Any) -> dict[str, Any]:
    return metadata(attention__layer_norm_rms_epsilon=1e-6, rope__freq_base=6000.0, **more)


def olmo3() -> Case:
    windowed = [(i + 1) % 4 != 0 for i in range(OLMO3_LAYERS)]
    yarn = {"factor": 8.0, "original_max_position_embeddings": 32, "beta_fast": 16.0, "attention_factor": 1.25}
    config = {
        "num_hidden_layers": OLMO3_LAYERS,
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention" if has else "full_attention" for has in windowed],
        "rope_parameters": {
            "sliding_attention": rotary(6000.0),
            "full_attention": rotary(6000.0, rope_type="yarn", **yarn),
        },
        "rms_norm_eps": 1e-6,
    }
    ours = keys(
        block_count=OLMO3_LAYERS,
        attention__sliding_window=WINDOW,
        attention__sliding_window_pattern=windowed,
        rope__scaling__type="yarn",
        rope__scaling__factor=8.0,
        rope__scaling__original_context_length=32,
        rope__scaling__yarn_beta_fast=16.0,
        rope__scaling__attn_factor=1.25,
    )
    shapes = UNTIED | blocks(NORMS, ATTENTION, GATED_FFN, n_layers=OLMO3_LAYERS)
    return Case("olmo2", ours, shapes, lambda: hugging_face("Olmo3", **config))


CASES = {
    "olmo 2": Case(
        "olmo2",
        keys(),
        UNTIED | blocks(NORMS, ATTENTION, GATED_FFN),
        lambda: hugging_face("Olmo2", rms_norm_eps=1e-6, rope_parameters=rotary(6000.0)),
    ),
    "olmo 3": olmo3(),
}
