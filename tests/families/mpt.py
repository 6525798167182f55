"""MPT: alibi, no biases, as many key-value heads as heads."""

from __future__ import annotations

from typing import Any

from families.case import D_MODEL, N_HEADS, N_LAYERS, N_VOCAB, NORMS, TIED, Case, Shapes, blocks, metadata

D_FF = 4 * D_MODEL
LAYER: Shapes = NORMS | {
    "attn_qkv.weight": (3 * D_MODEL, D_MODEL),
    "attn_output.weight": (D_MODEL, D_MODEL),
    "ffn_up.weight": (D_FF, D_MODEL),
    "ffn_down.weight": (D_MODEL, D_FF),
}
METADATA = metadata(
    attention__head_count_kv=N_HEADS,
    attention__layer_norm_epsilon=1e-5,
    attention__max_alibi_bias=8.0,
    attention__clamp_kqv=0.0,
    feed_forward_length=D_FF,
)


def model() -> Any:
    from transformers import MptConfig, MptForCausalLM

    attention = {"alibi": True, "alibi_bias_max": 8, "clip_qkv": None}
    sizes = {"d_model": D_MODEL, "n_heads": N_HEADS, "n_layers": N_LAYERS, "vocab_size": N_VOCAB, "max_seq_len": 512}
    return MptForCausalLM(MptConfig(**sizes, attn_config=attention, attn_implementation="eager"))


CASES = {"plain": Case("mpt", METADATA, TIED | blocks(LAYER), model)}
