"""Llama: rotary pairs are neighbours. Llama 3's factors, Mistral's window and head size, Mixtral's experts, linear and yarn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from families.case import (
    ATTENTION,
    D_FF,
    D_MODEL,
    GATED_FFN,
    HEAD_DIM,
    NORMS,
    TIED,
    UNTIED,
    Array,
    Case,
    Tensors,
    biases,
    blocks,
    hugging_face,
    metadata,
    rotary,
    unpermute,
)
from families.experts import joined

THETA, N_EXPERTS = 5000.0, 5
METADATA = metadata(attention__layer_norm_rms_epsilon=1e-5, rope__freq_base=THETA, rope__dimension_count=HEAD_DIM)
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
EXPERTS = {
    "ffn_gate_inp.weight": (N_EXPERTS, D_MODEL),
    "ffn_gate_exps.weight": (N_EXPERTS, D_FF, D_MODEL),
    "ffn_up_exps.weight": (N_EXPERTS, D_FF, D_MODEL),
    "ffn_down_exps.weight": (N_EXPERTS, D_MODEL, D_FF),
}
DENSE = NORMS | ATTENTION | GATED_FFN


def model(kind: str = "Llama", rope: dict[str, Any] | None = None, **changed: Any) -> Any:
    return hugging_face(kind, rms_norm_eps=1e-5, rope_parameters=rotary(THETA, **rope or {}), **changed)


def llama3_factors() -> Array:
    """What `rope_freqs` holds: by how much each frequency is divided (Llama 3.1's reference code)."""
    wavelength = 2 * math.pi * THETA ** (np.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    low, high = LLAMA3["low_freq_factor"], LLAMA3["high_freq_factor"]
    smooth = np.clip((LLAMA3["original_max_position_embeddings"] / wavelength - low) / (high - low), 0, 1)
    return 1 / ((1 - smooth) / LLAMA3["factor"] + smooth)


def mixtral(tensors: Tensors) -> Tensors:
    return joined(unpermute(tensors))


def without_factors(tensors: Tensors) -> Tensors:
    return unpermute({name: tensor for name, tensor in tensors.items() if name != "rope_freqs.weight"})


def yarn(factor: float, original: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """As metadata, and as transformers' rope_parameters."""
    ours = {"type": "yarn", "factor": factor, "original_context_length": original}
    theirs = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
    return {f"rope.scaling.{key}": value for key, value in ours.items()}, theirs


YARN, HF_YARN = yarn(4.0, 32)
LINEAR = {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
ALL_BIASES = biases(ATTENTION, "attn_q", "attn_k", "attn_v", "attn_output")

CASES = {
    "plain": Case("llama", METADATA, UNTIED | blocks(DENSE), model, unpermute),
    "tied, with biases": Case(
        "llama",
        METADATA,
        TIED | blocks(DENSE, ALL_BIASES),
        lambda: model(tie_word_embeddings=True, attention_bias=True),
        unpermute,
    ),
    "llama 3 factors": Case(
        "llama",
        METADATA,
        UNTIED | blocks(DENSE) | {"rope_freqs.weight": (HEAD_DIM // 2,)},
        lambda: model(rope=LLAMA3 | {"rope_type": "llama3"}),
        without_factors,
        tolerance=5e-7,  # 1.4e-7: the factors are float32 in the file
        values={"rope_freqs.weight": llama3_factors()},
    ),
    "linear": Case(
        "llama",
        METADATA | LINEAR,
        UNTIED | blocks(DENSE),
        lambda: model(rope={"rope_type": "linear", "factor": 4.0}),
        unpermute,
    ),
    "yarn": Case("llama", METADATA | YARN, UNTIED | blocks(DENSE), lambda: model(rope=HF_YARN), unpermute),
    "mistral, window": Case(
        "llama",
        METADATA | {"attention.sliding_window": 20},
        UNTIED | blocks(DENSE),
        lambda: model("Mistral", sliding_window=20),
        unpermute,
    ),
    "mixtral": Case(
        "llama",
        METADATA | {"expert_count": N_EXPERTS, "expert_used_count": 2},
        UNTIED | blocks(NORMS, ATTENTION, EXPERTS),
        lambda: model("Mixtral", num_local_experts=N_EXPERTS, num_experts_per_tok=2, experts_implementation="eager"),
        mixtral,
    ),
}
