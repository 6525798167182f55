"""Ministral 3: yarn, and queries that grow with their position; the text is four times the original context."""

from __future__ import annotations

from typing import Any

from families.case import (
    ATTENTION,
    GATED_FFN,
    HEAD_DIM,
    NORMS,
    UNTIED,
    Case,
    blocks,
    hugging_face,
    metadata,
    rotary,
    unpermute,
)

ORIGINAL, FACTOR, TEMPERATURE = 24, 16.0, 0.4


def case(log_multiplier: float, **more: Any) -> Case:
    """log_multiplier: 1 takes yarn's factor of scores away, 0 leaves it."""
    keys = metadata(
        attention__layer_norm_rms_epsilon=1e-5,
        rope__freq_base=9000.0,
        rope__dimension_count=HEAD_DIM,
        rope__scaling__type="yarn",
        rope__scaling__factor=FACTOR,
        rope__scaling__original_context_length=ORIGINAL,
        rope__scaling__yarn_beta_fast=8.0,
        rope__scaling__yarn_beta_slow=1.0,
        rope__scaling__yarn_log_multiplier=log_multiplier,
        attention__temperature_scale=TEMPERATURE,
        **more,
    )
    rope = rotary(
        9000.0,
        rope_type="yarn",
        factor=FACTOR,
        original_max_position_embeddings=ORIGINAL,
        beta_fast=8.0,
        beta_slow=1.0,
        mscale=1.0,
        mscale_all_dim=log_multiplier,
        llama_4_scaling_beta=TEMPERATURE,
    )
    return Case(
        "mistral3",
        keys,
        UNTIED | blocks(NORMS, ATTENTION, GATED_FFN),
        lambda: hugging_face(
            "Ministral3", head_dim=HEAD_DIM, rms_norm_eps=1e-5, rope_parameters=rope, sliding_window=None
        ),
        unpermute,
    )


CASES = {"as files are": case(1.0), "scores scaled": case(0.0, attention__temperature_length=ORIGINAL)}
