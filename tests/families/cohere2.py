"""Command R7B: windows and rotary positions in three of four layers, neither in the fourth."""

from __future__ import annotations

from families.case import ATTENTION, D_MODEL, GATED_FFN, TIED, Case, Shapes, blocks, hugging_face, metadata, rotary

N_LAYERS, WINDOW = 5, 20
NORM: Shapes = {"attn_norm.weight": (D_MODEL,)}
METADATA = metadata(
    block_count=N_LAYERS,
    attention__layer_norm_epsilon=1e-5,
    attention__sliding_window=WINDOW,
    rope__freq_base=8000.0,
    logit_scale=0.7,
)
CONFIG = {
    "num_hidden_layers": N_LAYERS,
    "layer_norm_eps": 1e-5,
    "sliding_window": WINDOW,
    "layer_types": ["sliding_attention" if (i + 1) % 4 else "full_attention" for i in range(N_LAYERS)],
    "rope_parameters": rotary(8000.0),
    "logit_scale": 0.7,
}

CASES = {
    "five layers": Case(
        "cohere2",
        METADATA,
        TIED | blocks(NORM, ATTENTION, GATED_FFN, n_layers=N_LAYERS),
        lambda: hugging_face("Cohere2", **CONFIG),
    ),
}
