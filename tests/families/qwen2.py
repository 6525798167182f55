"""Qwen2: biases of q, k and v."""

from __future__ import annotations

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
    hugging_face,
    metadata,
    rotary,
)

LAYERS = blocks(NORMS, ATTENTION, biases(ATTENTION, "attn_q", "attn_k", "attn_v"), GATED_FFN)
METADATA = metadata(attention__layer_norm_rms_epsilon=1e-5, rope__freq_base=5000.0)


def case(ends: Shapes, tied: bool) -> Case:
    config = {"rms_norm_eps": 1e-5, "rope_parameters": rotary(5000.0), "tie_word_embeddings": tied}
    return Case("qwen2", METADATA, ends | LAYERS, lambda: hugging_face("Qwen2", **config))


CASES = {"untied": case(UNTIED, False), "tied": case(TIED, True)}
