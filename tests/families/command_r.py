"""Command R: attention and feed-forward side by side, neighbouring pairs, logits scaled; R+'s norms of heads."""

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
    TIED,
    Case,
    Shapes,
    blocks,
    hugging_face,
    metadata,
    rotary,
)

NORM: Shapes = {"attn_norm.weight": (D_MODEL,)}
HEAD_NORMS: Shapes = {"attn_q_norm.weight": (N_HEADS, HEAD_DIM), "attn_k_norm.weight": (N_KV_HEADS, HEAD_DIM)}
METADATA = metadata(attention__layer_norm_epsilon=1e-5, rope__freq_base=8000.0, logit_scale=0.7)


def model(**changed: Any) -> Any:
    return hugging_face("Cohere", layer_norm_eps=1e-5, rope_parameters=rotary(8000.0), logit_scale=0.7, **changed)


CASES = {
    "R": Case("command-r", METADATA, TIED | blocks(NORM, ATTENTION, GATED_FFN), model),
    "R+: norms of heads": Case(
        "command-r",
        METADATA,
        TIED | blocks(NORM, HEAD_NORMS, ATTENTION, GATED_FFN),
        lambda: model(use_qk_norm=True),
        optional=frozenset(f"blk.{i}.{name}" for i in range(N_LAYERS) for name in HEAD_NORMS),
    ),
}
