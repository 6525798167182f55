"""transformers' Llama with the weights of a GGUF file, or of arrays: what tests/test_accuracy.py compares with.

Files are read by the gguf package and q's and k's permutation is undone here, so nothing of pyruntime takes part. Bit
for bit these are the weights that transformers' own GGUF loader gives for SmolLM2 (5.24, checked once: it needs
accelerate and 15 to 60 s).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlamaConfig, LlamaForCausalLM

Array = NDArray[np.float32]

_ENDS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def unpermute(weight: Array, n_heads: int) -> Array:
    """q's or k's rows from a llama GGUF's order (rotary pairs are neighbours) to transformers' (half a head apart)."""
    rows, cols = weight.shape
    return weight.reshape(n_heads, rows // n_heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


def load_gguf(path: Path) -> LlamaForCausalLM:
    """The model of a llama GGUF file in float32, its weights dequantized."""
    reader = gguf.GGUFReader(path)
    metadata = {
        name.removeprefix("llama."): field.contents()
        for name, field in reader.fields.items()
        if name.startswith("llama.")
    }
    weights = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    return build(metadata, weights)


def build(metadata: Mapping[str, Any], weights: Mapping[str, Array]) -> LlamaForCausalLM:
    """A model of GGUF metadata (keys after `llama.`) and GGUF tensors."""
    n_heads, n_kv_heads = metadata["attention.head_count"], metadata["attention.head_count_kv"]
    tied = "output.weight" not in weights
    config = LlamaConfig(
        vocab_size=len(weights["token_embd.weight"]),
        hidden_size=metadata["embedding_length"],
        intermediate_size=metadata["feed_forward_length"],
        num_hidden_layers=metadata["block_count"],
        num_attention_heads=n_heads,
        num_key_value_heads=n_kv_heads,
        head_dim=metadata.get("attention.key_length", metadata["embedding_length"] // n_heads),
        max_position_embeddings=metadata["context_length"],
        rms_norm_eps=metadata["attention.layer_norm_rms_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": metadata["rope.freq_base"]},
        tie_word_embeddings=tied,
        attn_implementation="eager",
    )
    state = {}
    for name, array in weights.items():
        for kind, heads in (("attn_q", n_heads), ("attn_k", n_kv_heads)):
            if f".{kind}." in name:
                array = unpermute(array, heads)
        state[_hugging_face_name(name)] = torch.tensor(array)
    if tied:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    model.load_state_dict(state, strict=True, assign=True)
    model.model.rotary_emb = type(model.model.rotary_emb)(
        config
    )  # its frequencies are no weights, and were made on "meta"
    return model.eval()


def _hugging_face_name(name: str) -> str:
    stem = name.removesuffix(".weight")
    if not stem.startswith("blk."):
        return f"{_ENDS[stem]}.weight"
    _, layer, part = stem.split(".")
    return f"model.layers.{layer}.{_LAYER[part]}.weight"


def hidden_states(model: LlamaForCausalLM, ids: NDArray[np.integer[Any]]) -> torch.Tensor:
    """What the head multiplies: (n, d_model), after the final norm."""
    with torch.inference_mode():
        return model.model(torch.from_numpy(np.asarray(ids, np.int64))[None]).last_hidden_state[0]


def logits(model: LlamaForCausalLM, hidden: torch.Tensor) -> Array:
    """Of these rows of hidden states, (rows, n_vocab). In pieces: 1,024 tokens of a 49k vocabulary take 200 MB."""
    with torch.inference_mode():
        return model.lm_head(hidden).numpy()
