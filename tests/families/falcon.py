"""Falcon: attention and feed-forward side by side; q, k and v in one tensor, which transformers interleaves by groups."""

from __future__ import annotations

from typing import Any

import numpy as np

from families.case import (
    D_FF,
    D_MODEL,
    HEAD_DIM,
    N_HEADS,
    N_LAYERS,
    TIED,
    Case,
    Shapes,
    Tensors,
    biases,
    blocks,
    hugging_face,
    metadata,
    rotary,
)

NORM: Shapes = {"attn_norm.weight": (D_MODEL,)}
SECOND: Shapes = {"attn_norm_2.weight": (D_MODEL,)}
ENDS = TIED | {"output_norm.bias": (D_MODEL,)}


def layer(n_kv_heads: int) -> Shapes:
    return {
        "attn_qkv.weight": ((N_HEADS + 2 * n_kv_heads) * HEAD_DIM, D_MODEL),
        "attn_output.weight": (D_MODEL, N_HEADS * HEAD_DIM),
        "ffn_up.weight": (D_FF, D_MODEL),
        "ffn_down.weight": (D_MODEL, D_FF),
    }


def interleaved(tensors: Tensors, n_kv_heads: int) -> Tensors:
    """Of each group its queries, its key, its value."""
    result = dict(tensors)
    for name in [n for n in tensors if "attn_qkv" in n]:
        q, k, v = np.split(tensors[name], [N_HEADS * HEAD_DIM, (N_HEADS + n_kv_heads) * HEAD_DIM])
        groups = [part.reshape(n_kv_heads, -1, D_MODEL) for part in (q, k, v)]
        result[name] = np.concatenate(groups, axis=1).reshape(-1, D_MODEL)
    return result


def case(n_kv_heads: int, *norms: Shapes, **config: Any) -> Case:
    names = [name.removesuffix(".weight") for norm in norms for name in norm]
    every = {name: shape for norm in norms for name, shape in norm.items()}
    sizes = {"ffn_hidden_size": D_FF, "layer_norm_epsilon": 1e-5, "rope_parameters": rotary(3000.0), "bias": False}
    return Case(
        "falcon",
        metadata(attention__head_count_kv=n_kv_heads, attention__layer_norm_epsilon=1e-5, rope__freq_base=3000.0),
        ENDS | blocks(every, biases(every, *names), layer(n_kv_heads)),
        lambda: hugging_face("Falcon", num_kv_heads=n_kv_heads, alibi=False, parallel_attn=True, **sizes | config),
        lambda tensors: interleaved(tensors, n_kv_heads),
        optional=frozenset(f"blk.{i}.{name}" for i in range(N_LAYERS) for name in SECOND),
    )


CASES = {
    "7B: one key-value head": case(1, NORM, multi_query=True),
    "40B: two norms": case(2, NORM, SECOND, new_decoder_architecture=True),
    "11B: one norm": case(2, NORM, new_decoder_architecture=True, num_ln_in_parallel_attn=1),
}
