"""Tiny random models as GGUF files: nothing in them is constant, square or a multiple of 16 by chance.

Norms differ from 1 and blocks from each other in scale, so that a forgotten norm or a swapped scale shows; heads,
key-value heads, widths and the vocabulary all differ, so that a mixed-up shape does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from block_formats import FLOATS, HALVES, WRITTEN_BY_GGUF, random_tensor
from numpy.typing import NDArray

Array = NDArray[np.float32]

BLOCK = 32


@dataclass(frozen=True)
class Llama:
    """The shape of a tiny llama. Widths are whole blocks of 32; heads need not add up to d_model."""

    n_layers: int = 2
    d_model: int = 96
    n_heads: int = 6
    n_kv_heads: int = 2
    head_dim: int = 32
    d_ff: int = 160
    n_vocab: int = 211
    n_rot: int = 32
    rope_theta: float = 5000.0
    eps: float = 1e-5
    tied: bool = False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of each tensor, in the order of the file."""
        q, kv = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        layer = {
            "attn_norm": (self.d_model,),
            "attn_q": (q, self.d_model),
            "attn_k": (kv, self.d_model),
            "attn_v": (kv, self.d_model),
            "attn_output": (self.d_model, q),
            "ffn_norm": (self.d_model,),
            "ffn_gate": (self.d_ff, self.d_model),
            "ffn_up": (self.d_ff, self.d_model),
            "ffn_down": (self.d_model, self.d_ff),
        }
        ends = {"token_embd": (self.n_vocab, self.d_model), "output_norm": (self.d_model,)}
        if not self.tied:
            ends["output"] = (self.n_vocab, self.d_model)
        blocks = {f"blk.{i}.{name}": shape for i in range(self.n_layers) for name, shape in layer.items()}
        return {f"{name}.weight": shape for name, shape in (ends | blocks).items()}

    @property
    def metadata(self) -> dict[str, int | float]:
        """Keys after `llama.`."""
        return {
            "block_count": self.n_layers,
            "context_length": 512,
            "embedding_length": self.d_model,
            "feed_forward_length": self.d_ff,
            "attention.head_count": self.n_heads,
            "attention.head_count_kv": self.n_kv_heads,
            "attention.key_length": self.head_dim,
            "attention.value_length": self.head_dim,
            "attention.layer_norm_rms_epsilon": self.eps,
            "rope.dimension_count": self.n_rot,
            "rope.freq_base": self.rope_theta,
        }


WIDE = Llama(d_model=256, n_heads=8, d_ff=512)  # rows of whole blocks of 256


def every_type(shape: Llama) -> dict[str, str]:
    """All types by turns over the matrices, with a gate and its up alike. Of five layers every type has one."""
    types = [*HALVES, *FLOATS]
    matrices = [name for name, dims in shape.shapes.items() if len(dims) == 2]
    chosen = {name: types[i % len(types)] for i, name in enumerate(matrices)}
    gates = [name for name in matrices if "ffn_gate" in name]
    return chosen | {name.replace("ffn_gate", "ffn_up"): chosen[name] for name in gates}


def random_weights(shape: Llama, seed: int = 0) -> dict[str, Array]:
    """Weights that keep a signal of size 1 at size 1, each block of 32 at a scale of its own (a factor of 2 around it)."""
    rng = np.random.default_rng(seed)
    return {name: _random(dims, rng) for name, dims in shape.shapes.items()}


def _random(dims: tuple[int, ...], rng: np.random.Generator) -> Array:
    if len(dims) == 1:
        return (0.5 + rng.random(dims)).astype(np.float32)  # norms
    rows, cols = dims
    scales = 2.0 ** rng.uniform(-1, 1, (rows, cols // BLOCK, 1))
    means = rng.uniform(-0.3, 0.3, scales.shape)  # so that the mins of Q4_1 differ too
    blocks = rng.standard_normal((rows, cols // BLOCK, BLOCK)) + means
    return (blocks * scales / np.sqrt(cols)).reshape(dims).astype(np.float32)


def write(
    path: Path,
    weights: Mapping[str, Array],
    metadata: Mapping[str, Any],
    types: str | Mapping[str, str] = "F32",
    architecture: str = "llama",
) -> Path:
    """Writes a GGUF file. types: of all matrices, or of those named (the rest is F32); vectors are F32.

    What the gguf package cannot quantize becomes random blocks of that type with the spread of the array.
    """
    rng = np.random.default_rng(len(weights))
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in metadata.items():
        _add(writer, f"{architecture}.{key}", value)
    for name, array in weights.items():
        chosen = types if isinstance(types, str) else types.get(name, "F32")
        kind = gguf.GGMLQuantizationType[chosen if array.ndim > 1 else "F32"]
        if kind.name in WRITTEN_BY_GGUF:
            stored = gguf.quants.quantize(array, kind)
        else:
            rows, cols = array.size // array.shape[-1], array.shape[-1]
            stored = random_tensor(kind.name, rows, cols, float(array.std()), rng).reshape(*array.shape[:-1], -1)
        writer.add_tensor(name, stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        (writer.add_uint32 if value >= 0 else writer.add_int32)(key, value)
    elif isinstance(value, float):
        writer.add_float64(key, value)  # a float32 would round rope_theta and eps
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def write_llama(
    path: Path, shape: Llama, types: str | Mapping[str, str] = "F32", seed: int = 0, **metadata: Any
) -> Path:
    """A tiny random llama; `metadata` replaces keys (spelt with "__" for ".") or, where None, leaves them out."""
    changed = {key.replace("__", "."): value for key, value in metadata.items()}
    entries = {key: value for key, value in (shape.metadata | changed).items() if value is not None}
    return write(path, random_weights(shape, seed), entries, types)
