"""A tiny random llama as a GGUF file, with a byte-level BPE vocabulary and a chat template: `write(path, "Q4_1")`.

Widths are ragged on purpose: heads of 24 (not whole vectors of 16), 299 tokens, two key-value heads for four heads.
Scales, norms and blocks are random, so that nothing is right by chance. It says nonsense, but always the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

FORMATS = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q8_0")

N_LAYERS, D_MODEL, D_FF = 2, 96, 160
N_HEADS, N_KV_HEADS, HEAD_DIM = 4, 2, 24
CONTEXT = 1024

_VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
ALPHABET = [chr(b) for b in _VISIBLE] + [chr(0x100 + i) for i in range(256 - len(_VISIBLE))]  # one character a byte
_PAIRS = "th he in er an re on at en nd st or te es is it ar ou ea ti to ed al nt ng se ha as ve"
_MERGED = f"{_PAIRS} the and ing her hat tha ere ent ers ted".split()
_CONTROL = ["<|start|>", "<|end|>", "<|pad|>"]
TOKENS = [*ALPHABET, "Ġt", *_MERGED, *_CONTROL]
N_VOCAB = len(TOKENS)
END = TOKENS.index("<|end|>")

TEMPLATE = "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>{% endfor %}<|start|>assistant\n"


def llama_shapes(
    n_vocab: int, n_layers: int, d_model: int, d_ff: int, n_heads: int, n_kv_heads: int, head_dim: int, *, tied: bool
) -> dict[str, tuple[int, ...]]:
    """The tensors of a Llama; `tied`: its head is its embedding."""
    head = {} if tied else {"output.weight": (n_vocab, d_model)}
    layer = {
        "attn_norm": (d_model,),
        "attn_q": (n_heads * head_dim, d_model),
        "attn_k": (n_kv_heads * head_dim, d_model),
        "attn_v": (n_kv_heads * head_dim, d_model),
        "attn_output": (d_model, n_heads * head_dim),
        "ffn_norm": (d_model,),
        "ffn_gate": (d_ff, d_model),
        "ffn_up": (d_ff, d_model),
        "ffn_down": (d_model, d_ff),
    }
    return {
        "token_embd.weight": (n_vocab, d_model),
        "output_norm.weight": (d_model,),
        **head,
        **{f"blk.{i}.{name}.weight": shape for i in range(n_layers) for name, shape in layer.items()},
    }


SHAPES = llama_shapes(N_VOCAB, N_LAYERS, D_MODEL, D_FF, N_HEADS, N_KV_HEADS, HEAD_DIM, tied=False)

METADATA: dict[str, Any] = {
    "llama.block_count": N_LAYERS,
    "llama.context_length": CONTEXT,
    "llama.embedding_length": D_MODEL,
    "llama.feed_forward_length": D_FF,
    "llama.attention.head_count": N_HEADS,
    "llama.attention.head_count_kv": N_KV_HEADS,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.dimension_count": HEAD_DIM,
    "llama.rope.freq_base": 5000.0,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "gpt-2",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": [1] * (N_VOCAB - len(_CONTROL)) + [3] * len(_CONTROL),
    "tokenizer.ggml.merges": [f"{t[:-1]} {t[-1]}" for t in ["Ġt", *_MERGED]],
    "tokenizer.ggml.bos_token_id": TOKENS.index("<|start|>"),
    "tokenizer.ggml.eos_token_id": END,
    "tokenizer.ggml.padding_token_id": TOKENS.index("<|pad|>"),
    "tokenizer.chat_template": TEMPLATE,
}


def random_weight(name: str, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """Norms around 1; rows of matrices with blocks of 32 of different scale and mean."""
    rng = np.random.default_rng([seed, *name.encode()])
    if len(shape) == 1:
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    blocks = (*shape[:-1], shape[-1] // 32, 1)
    values = rng.standard_normal((*blocks[:-1], 32)) + rng.uniform(-0.3, 0.3, blocks)
    gain = 3 if name == "output.weight" else 1  # peaked enough that sampling is not a coin toss
    return (gain * values * np.exp2(rng.uniform(-1, 1, blocks)) / shape[-1] ** 0.5).reshape(shape).astype(np.float32)


def write(
    path: Path,
    weight_type: str = "Q4_1",
    *,
    metadata: Mapping[str, Any] | None = None,
    tensors: Mapping[str, NDArray[np.float32] | tuple[str, NDArray[np.uint8]] | None] | None = None,
    architecture: str = "llama",
) -> Path:
    """Writes the model. Both mappings change or add an entry, or leave it out (None).

    tensors: float32 values, in `weight_type` if they are a matrix and in F32 if a vector; or a type's name and raw bytes
    (rows, bytes of a row).
    """
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in (METADATA | dict(metadata or {})).items():
        _add(writer, key, value)
    given = {name: random_weight(name, shape) for name, shape in SHAPES.items()} | dict(tensors or {})
    for name, tensor in given.items():
        if isinstance(tensor, tuple):
            writer.add_tensor(name, tensor[1], raw_dtype=gguf.GGMLQuantizationType[tensor[0]])
        elif tensor is not None:
            kind = gguf.GGMLQuantizationType[weight_type if tensor.ndim > 1 else "F32"]
            writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def ids(n: int, seed: int = 0) -> NDArray[np.int32]:
    """Random token ids, without the control tokens."""
    return np.random.default_rng(seed).integers(0, N_VOCAB - len(_CONTROL), n, np.int32)


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, (int, float, str)):
        add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float64, str: writer.add_string}[
            type(value)
        ]
        add(key, value)
    else:
        writer.add_array(key, value)
