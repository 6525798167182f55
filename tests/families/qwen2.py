"""Qwen2: biases of q, k and v."""

from __future__ import annotations

from typing import Any

from families.case import (
    ATTENTION,
    GATED_FFN,
    NORMS,
    TIED,
    UNTIED,
    Case,
    Shapes,
    biases,
    blocks,
    hugging_face_sizes,
    metadata,
)

LAYER = blocks(NORMS, ATTENTION, biases(ATTENTION, "attn_q", "attn_k", "attn_v"), GATED_FFN)
METADATA = metadata(attention__layer_norm_rms_epsilon=1e-5, rope__freq_base=5000.0)


def model(**changed: Any) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    rope = {"rope_type": "default", "rope_theta": 5000.0}
    config = Qwen2Config(**hugging_face_sizes(rms_norm_eps=1e-5, rope_parameters=rope) | changed)
    return Qwen2ForCausalLM(config)


def case(ends: Shapes, tied: bool) -> Case:
    return Case("qwen2", METADATA, ends | LAYER, lambda: model(tie_word_embeddings=tied))


CASES = {"untied": case(UNTIED, False), "tied": case(TIED, True)}
