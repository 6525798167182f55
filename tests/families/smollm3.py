"""SmolLM3: every fourth layer has no positions."""

from __future__ import annotations

from families.case import ATTENTION, GATED_FFN, NORMS, TIED, Case, blocks, hugging_face, metadata, rotary, unpermute

N_LAYERS = 5
METADATA = metadata(block_count=N_LAYERS, attention__layer_norm_rms_epsilon=1e-6, rope__freq_base=7000.0)
CONFIG = {
    "num_hidden_layers": N_LAYERS,
    "rms_norm_eps": 1e-6,
    "rope_parameters": rotary(7000.0),
    "tie_word_embeddings": True,
}

CASES = {
    "five layers": Case(
        "smollm3",
        METADATA,
        TIED | blocks(NORMS, ATTENTION, GATED_FFN, n_layers=N_LAYERS),
        lambda: hugging_face("SmolLM3", **CONFIG),
        unpermute,
    ),
}
