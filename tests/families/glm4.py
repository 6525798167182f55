"""GLM-4: half of each head turns in neighbouring pairs, norms after each half of a block, gate and up in one tensor."""

from __future__ import annotations

from families.case import (
    ATTENTION,
    D_FF,
    D_MODEL,
    NORMS,
    UNTIED,
    Case,
    Shapes,
    biases,
    blocks,
    hugging_face,
    metadata,
    rotary,
)

N_ROT = 12
LAYER: Shapes = {
    "post_attention_norm.weight": (D_MODEL,),
    "ffn_up.weight": (2 * D_FF, D_MODEL),
    "ffn_down.weight": (D_MODEL, D_FF),
    "post_ffw_norm.weight": (D_MODEL,),
}
METADATA = metadata(attention__layer_norm_rms_epsilon=1e-5, rope__dimension_count=N_ROT, rope__freq_base=4000.0)
CONFIG = {"rms_norm_eps": 1e-5, "head_dim": 24, "rope_parameters": rotary(4000.0, partial_rotary_factor=0.5)}

CASES = {
    "plain": Case(
        "glm4",
        METADATA,
        UNTIED | blocks(NORMS, ATTENTION, LAYER),
        lambda: hugging_face("Glm4", attention_bias=False, **CONFIG),
    ),
    "with biases": Case(
        "glm4",
        METADATA,
        UNTIED | blocks(NORMS, ATTENTION, LAYER, biases(ATTENTION, "attn_q", "attn_k", "attn_v")),
        lambda: hugging_face("Glm4", attention_bias=True, **CONFIG),
    ),
}
