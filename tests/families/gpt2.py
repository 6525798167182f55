"""GPT-2: learned positions, layer norms, biases, as many key-value heads as heads."""

from __future__ import annotations

from typing import Any

from families.case import (
    D_FF,
    D_MODEL,
    N_HEADS,
    N_LAYERS,
    N_VOCAB,
    NORMS,
    TIED,
    Case,
    Shapes,
    Tensors,
    biases,
    blocks,
    metadata,
)

N_POSITIONS = 128
LAYER: Shapes = NORMS | {
    "attn_qkv.weight": (3 * D_MODEL, D_MODEL),
    "attn_output.weight": (D_MODEL, D_MODEL),
    "ffn_up.weight": (D_FF, D_MODEL),
    "ffn_down.weight": (D_MODEL, D_FF),
}
ENDS = TIED | {"output_norm.bias": (D_MODEL,), "position_embd.weight": (N_POSITIONS, D_MODEL)}
METADATA = metadata(attention__head_count_kv=N_HEADS, attention__layer_norm_epsilon=1e-5, context_length=N_POSITIONS)


def model() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=N_VOCAB,
        n_positions=N_POSITIONS,
        n_embd=D_MODEL,
        n_inner=D_FF,
        n_layer=N_LAYERS,
        n_head=N_HEADS,
        layer_norm_epsilon=1e-5,
        attn_implementation="eager",
    )
    return GPT2LMHeadModel(config)


def columns_first(tensors: Tensors) -> Tensors:
    """transformers' Conv1D keeps matrices the other way round."""
    linear = ("attn_qkv", "attn_output", "ffn_up", "ffn_down")
    return {n: t.T if n.endswith(".weight") and n.split(".")[-2] in linear else t for n, t in tensors.items()}


CASES = {
    "plain": Case(
        "gpt2",
        METADATA,
        ENDS | blocks(LAYER, biases(LAYER, *(name.removesuffix(".weight") for name in LAYER))),
        model,
        columns_first,
    ),
}
