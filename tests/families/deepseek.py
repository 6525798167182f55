"""DeepSeek-MoE. transformers has no class of it; a Qwen2-MoE whose shared expert has a gate of zeros, which halves it, is the
same model, with the shared expert's last product doubled and the first layer dense."""

from __future__ import annotations

from typing import Any

import numpy as np

from families import qwen2moe
from families.case import (
    ATTENTION,
    D_MODEL,
    GATED_FFN,
    HEAD_DIM,
    N_KV_HEADS,
    NORMS,
    UNTIED,
    Case,
    Tensors,
    blocks,
    metadata,
    unpermute,
)
from families.experts import COUNTS, EXPERTS, joined, shared

METADATA = (
    metadata(
        attention__layer_norm_rms_epsilon=1e-6,
        attention__key_length=HEAD_DIM,
        attention__value_length=HEAD_DIM,
        rope__freq_base=7000.0,
        rope__dimension_count=HEAD_DIM,
        leading_dense_block_count=1,
        expert_shared_count=2,
        expert_weights_scale=1.0,
    )
    | COUNTS
)
FIRST, SECOND = NORMS | ATTENTION | GATED_FFN, NORMS | ATTENTION | EXPERTS | shared(128)
SHAPES = UNTIED | blocks(FIRST, n_layers=1) | {f"blk.1.{name}": shape for name, shape in SECOND.items()}


def model() -> Any:
    return qwen2moe.model(mlp_only_layers=[0], qkv_bias=False)


def to_hugging_face(tensors: Tensors) -> Tensors:
    result = joined(unpermute(tensors, n_kv_heads=N_KV_HEADS))
    result["blk.1.ffn_down_shexp.weight"] = 2 * result["blk.1.ffn_down_shexp.weight"]
    return result | {"model.layers.1.mlp.shared_expert_gate.weight": np.zeros((1, D_MODEL))}


CASES = {"plain": Case("deepseek", METADATA, SHAPES, model, to_hugging_face)}
