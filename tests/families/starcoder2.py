"""StarCoder2: layer norms, biases everywhere, a plain feed-forward."""

from __future__ import annotations

from families.case import (
    ATTENTION,
    D_FF,
    D_MODEL,
    NORMS,
    TIED,
    Case,
    Shapes,
    biases,
    blocks,
    hugging_face,
    metadata,
    rotary,
)

FFN: Shapes = {"ffn_up.weight": (D_FF, D_MODEL), "ffn_down.weight": (D_MODEL, D_FF)}
WEIGHTS = NORMS | ATTENTION | FFN
LAYERS = blocks(WEIGHTS, biases(WEIGHTS, *(name.removesuffix(".weight") for name in WEIGHTS)))
METADATA = metadata(attention__layer_norm_epsilon=1e-5, rope__freq_base=9000.0)
CONFIG = {"norm_epsilon": 1e-5, "rope_parameters": rotary(9000.0), "tie_word_embeddings": True}


def case(window: int) -> Case:
    return Case(
        "starcoder2",
        METADATA | {"attention.sliding_window": window},
        TIED | {"output_norm.bias": (D_MODEL,)} | LAYERS,
        lambda: hugging_face("Starcoder2", sliding_window=window or None, **CONFIG),
    )


CASES = {"plain": case(0), "window": case(20)}
