"""BLOOM: alibi, a norm of the embeddings; q, k and v in one tensor, which transformers interleaves by heads. Six heads: no power
of two, so that the slopes that lie between are there too."""

from __future__ import annotations

from typing import Any

import numpy as np

from families.case import D_MODEL, N_LAYERS, N_VOCAB, NORMS, TIED, Case, Shapes, Tensors, biases, blocks, metadata

N_HEADS, D_FF = 6, 4 * D_MODEL
LAYER: Shapes = NORMS | {
    "attn_qkv.weight": (3 * D_MODEL, D_MODEL),
    "attn_output.weight": (D_MODEL, D_MODEL),
    "ffn_up.weight": (D_FF, D_MODEL),
    "ffn_down.weight": (D_MODEL, D_FF),
}
ENDS = TIED | {
    "token_embd_norm.weight": (D_MODEL,),
    "token_embd_norm.bias": (D_MODEL,),
    "output_norm.bias": (D_MODEL,),
}
METADATA = metadata(
    attention__head_count=N_HEADS,
    attention__head_count_kv=N_HEADS,
    attention__layer_norm_epsilon=1e-5,
    feed_forward_length=D_FF,
)


def model() -> Any:
    from transformers import BloomConfig, BloomForCausalLM

    sizes = {"vocab_size": N_VOCAB, "hidden_size": D_MODEL, "n_layer": N_LAYERS, "n_head": N_HEADS}
    return BloomForCausalLM(BloomConfig(**sizes, layer_norm_epsilon=1e-5, attn_implementation="eager"))


def interleaved(tensors: Tensors) -> Tensors:
    """Of each head its queries, its keys, its values."""
    result = dict(tensors)
    for name in [n for n in tensors if "attn_qkv" in n]:
        parts = tensors[name].reshape(3, N_HEADS, D_MODEL // N_HEADS, *tensors[name].shape[1:])
        result[name] = np.swapaxes(parts, 0, 1).reshape(tensors[name].shape)
    return result


CASES = {
    "six heads": Case(
        "bloom",
        METADATA,
        ENDS | blocks(LAYER, biases(LAYER, *(n.removesuffix(".weight") for n in LAYER))),
        model,
        interleaved,
    ),
}
