"""A real GGUF file as a model of transformers, in float32: what tests/test_accuracy.py compares with.

The gguf package reads it and dequantizes it, and the families' tests give its tensors transformers' layout, so nothing of
pyruntime takes part. For SmolLM2 these are, bit for bit, the weights of transformers' own GGUF loader (5.24, checked once: it
needs accelerate and 15 to 60 s).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from transformers.initialization import no_init_weights

from families.case import Array, Tensors, hugging_face, name_map, norms_less_one, rotary, unpermute
from families.hugging_face import state


def load(path: Path) -> Any:
    reader = gguf.GGUFReader(path)
    architecture = reader.fields["general.architecture"].contents()
    metadata = {
        name.removeprefix(f"{architecture}."): field.contents()
        for name, field in reader.fields.items()
        if name.startswith(f"{architecture}.")
    }
    tensors: Tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    tied = "output.weight" not in tensors
    vocab_size = len(tensors["token_embd.weight"])
    kind, config, to_hugging_face = FAMILIES[architecture](metadata)
    with no_init_weights():  # the memory of a second set of them is never touched
        model = hugging_face(kind, vocab_size=vocab_size, tie_word_embeddings=tied, **sizes(metadata), **config)
    names = name_map(architecture, metadata["block_count"])
    model.load_state_dict(state(to_hugging_face(tensors), names, model), assign=True)
    model.tie_weights()
    return model.eval()


def sizes(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "hidden_size": metadata["embedding_length"],
        "intermediate_size": metadata["feed_forward_length"],
        "num_hidden_layers": metadata["block_count"],
        "num_attention_heads": metadata["attention.head_count"],
        "num_key_value_heads": metadata["attention.head_count_kv"],
        "max_position_embeddings": metadata["context_length"],
        "rms_norm_eps": metadata["attention.layer_norm_rms_epsilon"],
    }


def llama(metadata: Mapping[str, Any]) -> Any:
    heads = metadata["attention.head_count"], metadata["attention.head_count_kv"]
    rope = rotary(metadata["rope.freq_base"])
    return "Llama", {"rope_parameters": rope}, lambda tensors: unpermute(tensors, *heads)


def qwen2(metadata: Mapping[str, Any]) -> Any:
    return "Qwen2", {"rope_parameters": rotary(metadata["rope.freq_base"])}, dict


def gemma3(metadata: Mapping[str, Any]) -> Any:
    layers = ["sliding_attention" if (i + 1) % 6 else "full_attention" for i in range(metadata["block_count"])]
    width = metadata["attention.key_length"]
    config = {
        "head_dim": width,
        "query_pre_attn_scalar": width,
        "sliding_window": metadata["attention.sliding_window"],
        "layer_types": layers,
        "rope_parameters": {
            "full_attention": rotary(metadata["rope.freq_base"]),
            "sliding_attention": rotary(10000.0),
        },
    }
    return "Gemma3", config, norms_less_one


FAMILIES = {"llama": llama, "qwen2": qwen2, "gemma3": gemma3}


def hidden_states(model: Any, ids: NDArray[np.integer[Any]]) -> torch.Tensor:
    """What the head multiplies: (n, d_model), after the final norm."""
    with torch.inference_mode():
        return model.model(torch.from_numpy(np.asarray(ids, np.int64))[None]).last_hidden_state[0]


def logits(model: Any, hidden: torch.Tensor) -> Array:
    """Of these rows of hidden states, (rows, n_vocab). In pieces: 1,024 tokens of a 262k vocabulary take 1 GB."""
    with torch.inference_mode():
        return model.lm_head(hidden).numpy()
