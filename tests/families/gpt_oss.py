"""gpt-oss: sinks, windows in every other layer, biases everywhere, yarn without rounding, experts with clamped gates."""

from __future__ import annotations

from typing import Any

import numpy as np

from families.case import (
    D_MODEL,
    N_HEADS,
    N_KV_HEADS,
    UNTIED,
    Case,
    Tensors,
    biases,
    blocks,
    hugging_face,
    metadata,
)
from families.experts import COUNTS, D_EXPERT, EXPERTS, N_EXPERTS, N_USED

HEAD_DIM, WINDOW, THETA = 32, 20, 7000.0
METADATA = (
    metadata(
        block_count=3,
        attention__layer_norm_rms_epsilon=1e-5,
        attention__key_length=HEAD_DIM,
        attention__value_length=HEAD_DIM,
        attention__sliding_window=WINDOW,
        rope__freq_base=THETA,
        rope__scaling__type="yarn",
        rope__scaling__factor=4.0,
        rope__scaling__original_context_length=32,
    )
    | COUNTS
)
ATTENTION = {
    "attn_q.weight": (N_HEADS * HEAD_DIM, D_MODEL),
    "attn_k.weight": (N_KV_HEADS * HEAD_DIM, D_MODEL),
    "attn_v.weight": (N_KV_HEADS * HEAD_DIM, D_MODEL),
    "attn_output.weight": (D_MODEL, N_HEADS * HEAD_DIM),
}
LAYER = (
    ATTENTION
    | EXPERTS
    | biases(ATTENTION, "attn_q", "attn_k", "attn_v", "attn_output")
    | {
        "attn_norm.weight": (D_MODEL,),
        "post_attention_norm.weight": (D_MODEL,),
        "attn_sinks.weight": (N_HEADS,),
        "ffn_gate_inp.bias": (N_EXPERTS,),
        "ffn_gate_exps.bias": (N_EXPERTS, D_EXPERT),
        "ffn_up_exps.bias": (N_EXPERTS, D_EXPERT),
        "ffn_down_exps.bias": (N_EXPERTS, D_MODEL),
    }
)


def model() -> Any:
    stretched = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "truncate": False}
    return hugging_face(
        "GptOss",
        num_hidden_layers=3,
        intermediate_size=D_EXPERT,
        head_dim=HEAD_DIM,
        sliding_window=WINDOW,
        rope_parameters=stretched | {"rope_theta": THETA, "beta_fast": 32.0, "beta_slow": 1.0},
        num_local_experts=N_EXPERTS,
        num_experts_per_tok=N_USED,
        rms_norm_eps=1e-5,
        experts_implementation="eager",
    )


def to_hugging_face(tensors: Tensors) -> Tensors:
    """Columns of gate and up in turn; matrices of experts map rows to columns."""
    result = dict(tensors)
    for i in range(3):
        theirs = f"model.layers.{i}.mlp.experts"
        result[f"model.layers.{i}.self_attn.sinks"] = result.pop(f"blk.{i}.attn_sinks.weight")
        for ending, suffix in (("weight", ""), ("bias", "_bias")):
            gate, up, down = (result.pop(f"blk.{i}.ffn_{name}_exps.{ending}") for name in ("gate", "up", "down"))
            both = np.stack([gate, up], axis=2).reshape(N_EXPERTS, 2 * D_EXPERT, *gate.shape[2:])
            result[f"{theirs}.gate_up_proj{suffix}"] = both.swapaxes(1, -1) if ending == "weight" else both
            result[f"{theirs}.down_proj{suffix}"] = down.swapaxes(1, 2) if ending == "weight" else down
    return result


CASES = {"plain": Case("gpt-oss", METADATA, UNTIED | blocks(LAYER, n_layers=3), model, to_hugging_face)}
