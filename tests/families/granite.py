"""Granite: four multipliers, of which logit_scale divides; 0 is none."""

from __future__ import annotations

from typing import Any

from families.case import ATTENTION, GATED_FFN, NORMS, TIED, Case, blocks, hugging_face, metadata, rotary, unpermute


def case(embedding: float, residual: float, attention: float, logits: float) -> Case:
    keys = metadata(
        attention__layer_norm_rms_epsilon=1e-5,
        rope__freq_base=8000.0,
        embedding_scale=embedding,
        residual_scale=residual,
        attention__scale=attention,
        logit_scale=logits,
    )
    config: dict[str, Any] = {
        "embedding_multiplier": embedding or 1.0,
        "residual_multiplier": residual or 1.0,
        "attention_multiplier": attention or 24**-0.5,
        "logits_scaling": logits or 1.0,
        "rms_norm_eps": 1e-5,
        "rope_parameters": rotary(8000.0),
        "tie_word_embeddings": True,
    }
    shapes = TIED | blocks(NORMS, ATTENTION, GATED_FFN)
    return Case("granite", keys, shapes, lambda: hugging_face("Granite", **config), unpermute)


CASES = {"multipliers": case(3.0, 0.3, 0.5, 0.7), "zeros are none": case(0.0, 0.0, 0.0, 0.0)}
