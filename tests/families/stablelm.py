"""StableLM: layer norms, part of each head turns; the 12B's norms of heads and parallel residual."""

from __future__ import annotations

from typing import Any

from families.case import (
    ATTENTION,
    D_MODEL,
    GATED_FFN,
    HEAD_DIM,
    N_HEADS,
    N_KV_HEADS,
    N_LAYERS,
    NORMS,
    UNTIED,
    Case,
    Shapes,
    Tensors,
    biases,
    blocks,
    hugging_face,
    metadata,
    rotary,
)

N_ROT = 6
ENDS = UNTIED | {"output_norm.bias": (D_MODEL,)}
FIRST_NORM: Shapes = {"attn_norm.weight": (D_MODEL,)}
HEAD_NORMS: Shapes = {"attn_q_norm.weight": (N_HEADS, HEAD_DIM), "attn_k_norm.weight": (N_KV_HEADS, HEAD_DIM)}
METADATA = metadata(attention__layer_norm_epsilon=1e-5, rope__dimension_count=N_ROT, rope__freq_base=4000.0)
OPTIONAL = frozenset(
    {"output.weight"} | {f"blk.{i}.{name}" for i in range(N_LAYERS) for name in (*HEAD_NORMS, "ffn_norm.weight")}
)


def model(**changed: Any) -> Any:
    rope = rotary(4000.0, partial_rotary_factor=N_ROT / HEAD_DIM)
    return hugging_face("StableLm", layer_norm_eps=1e-5, rope_parameters=rope, **changed)


def norm_of_each_head(tensors: Tensors) -> Tensors:
    """transformers has a module for each."""
    result = {}
    for name, tensor in tensors.items():
        _, layer, part, *_ = f"{name}...".split(".")
        if part in ("attn_q_norm", "attn_k_norm"):
            prefix = f"model.layers.{layer}.self_attn.{part[5]}_layernorm.norms"
            result |= {f"{prefix}.{head}.weight": row for head, row in enumerate(tensor)}
        else:
            result[name] = tensor
    return result


def case(layer: Shapes, with_bias: tuple[str, ...], **config: Any) -> Case:
    layers = blocks(layer, biases(layer, *with_bias), GATED_FFN)
    return Case("stablelm", METADATA, ENDS | layers, lambda: model(**config), norm_of_each_head, optional=OPTIONAL)


BOTH = ("attn_norm", "ffn_norm")

CASES = {
    "3B": case(NORMS | ATTENTION, BOTH),
    "2 1.6B: biases": case(NORMS | ATTENTION, (*BOTH, "attn_q", "attn_k", "attn_v"), use_qkv_bias=True),
    "2 12B: parallel": case(
        FIRST_NORM | HEAD_NORMS | ATTENTION, ("attn_norm",), use_parallel_residual=True, qk_layernorm=True
    ),
}
