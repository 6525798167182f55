"""Phi-3: fused tensors, a window, part of each head turning, and longrope's two sets of factors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from families.case import (
    D_FF,
    D_MODEL,
    HEAD_DIM,
    N_HEADS,
    N_KV_HEADS,
    NORMS,
    TIED,
    UNTIED,
    Case,
    Shapes,
    Tensors,
    blocks,
    hugging_face,
    metadata,
    rotary,
)

N_ROT = 16
LAYERS = blocks(
    NORMS,
    {
        "attn_qkv.weight": ((N_HEADS + 2 * N_KV_HEADS) * HEAD_DIM, D_MODEL),
        "attn_output.weight": (D_MODEL, N_HEADS * HEAD_DIM),
        "ffn_up.weight": (2 * D_FF, D_MODEL),
        "ffn_down.weight": (D_MODEL, D_FF),
    },
)
METADATA = metadata(attention__layer_norm_rms_epsilon=1e-5, rope__freq_base=10000.0, rope__dimension_count=HEAD_DIM)
SHORT = np.arange(N_ROT // 2) / 8 + 1  # exact in float32
LONG = np.arange(N_ROT // 2) * 1.5 + 2
FACTORS: Shapes = {"rope_factors_short.weight": (N_ROT // 2,), "rope_factors_long.weight": (N_ROT // 2,)}


def model(**changed: Any) -> Any:
    config = {
        "rms_norm_eps": 1e-5,
        "sliding_window": None,
        "rope_parameters": rotary(10000.0, partial_rotary_factor=1.0),
    }
    return hugging_face("Phi3", **config | changed)


def longrope(original: int) -> Case:
    """A model for 512 positions that was first trained on fewer, or on as many: then the short factors are used."""
    attn_factor = math.sqrt(1 + math.log(8) / math.log(original))
    keys = {
        "rope.dimension_count": N_ROT,
        "rope.scaling.original_context_length": original,
        "rope.scaling.attn_factor": attn_factor,
    }
    rope = rotary(
        10000.0,
        rope_type="longrope",
        short_factor=SHORT.tolist(),
        long_factor=LONG.tolist(),
        original_max_position_embeddings=original,
        attention_factor=attn_factor,
        partial_rotary_factor=N_ROT / HEAD_DIM,
    )
    return Case(
        "phi3",
        METADATA | keys,
        TIED | LAYERS | FACTORS,
        lambda: model(rope_parameters=rope, original_max_position_embeddings=original, tie_word_embeddings=True),
        without_factors,
        values={"rope_factors_short.weight": SHORT, "rope_factors_long.weight": LONG},
        optional=frozenset(FACTORS),
    )


def without_factors(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if "rope_factors" not in name}


CASES = {
    "plain": Case("phi3", METADATA, UNTIED | LAYERS, model),
    "window": Case(
        "phi3", METADATA | {"attention.sliding_window": 20}, UNTIED | LAYERS, lambda: model(sliding_window=20)
    ),
    "long factors": longrope(original=64),
    "short factors": longrope(original=512),
}
