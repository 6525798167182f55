"""A tiny random model of a family: what its GGUF file holds, and how transformers makes the same model.

Nothing is constant, square or a multiple of 16 by chance: norms, biases and blocks are random, heads, key-value heads and
widths differ. Texts (`n_tokens`) are longer than windows, original contexts and a page of the KV cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import tiny_models
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Tensors = dict[str, Array]
Shapes = dict[str, tuple[int, ...]]

N_LAYERS, D_MODEL, D_FF, N_VOCAB = 2, 96, 160, 211
N_HEADS, N_KV_HEADS, HEAD_DIM = 4, 2, 24


def metadata(**more: Any) -> dict[str, Any]:
    """Keys after `<architecture>.` that every family has; "__" stands for "."."""
    return {
        "block_count": N_LAYERS,
        "context_length": 512,
        "embedding_length": D_MODEL,
        "feed_forward_length": D_FF,
        "attention.head_count": N_HEADS,
        "attention.head_count_kv": N_KV_HEADS,
    } | {key.replace("__", "."): value for key, value in more.items()}


def hugging_face(kind: str, **config: Any) -> Any:
    """transformers' `<kind>ForCausalLM` of the same sizes; `config` changes its configuration, None leaves a size out."""
    import transformers  # not at the top: the tests without it read the cases too

    sizes = {
        "vocab_size": N_VOCAB,
        "hidden_size": D_MODEL,
        "intermediate_size": D_FF,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": N_HEADS,
        "num_key_value_heads": N_KV_HEADS,
        "max_position_embeddings": 512,
        "pad_token_id": None,
        "attn_implementation": "eager",
    }
    model = getattr(transformers, f"{kind}ForCausalLM")
    return model(model.config_class(**sizes | config))


def rotary(theta: float, **scaling: Any) -> dict[str, Any]:
    """transformers' `rope_parameters`."""
    return {"rope_type": "default", "rope_theta": theta} | scaling


ATTENTION: Shapes = {
    "attn_q.weight": (N_HEADS * HEAD_DIM, D_MODEL),
    "attn_k.weight": (N_KV_HEADS * HEAD_DIM, D_MODEL),
    "attn_v.weight": (N_KV_HEADS * HEAD_DIM, D_MODEL),
    "attn_output.weight": (D_MODEL, N_HEADS * HEAD_DIM),
}
GATED_FFN: Shapes = {
    "ffn_gate.weight": (D_FF, D_MODEL),
    "ffn_up.weight": (D_FF, D_MODEL),
    "ffn_down.weight": (D_MODEL, D_FF),
}
NORMS: Shapes = {"attn_norm.weight": (D_MODEL,), "ffn_norm.weight": (D_MODEL,)}
TIED: Shapes = {"token_embd.weight": (N_VOCAB, D_MODEL), "output_norm.weight": (D_MODEL,)}
UNTIED: Shapes = TIED | {"output.weight": (N_VOCAB, D_MODEL)}


def biases(shapes: Shapes, *names: str) -> Shapes:
    """One for each of these weights: of its rows, or of a norm's width."""
    return {f"{name}.bias": shapes[f"{name}.weight"][:1] for name in names}


def blocks(*layer: Shapes, n_layers: int = N_LAYERS) -> Shapes:
    """The tensors of all layers, of those of one."""
    return {f"blk.{i}.{name}": shape for i in range(n_layers) for part in layer for name, shape in part.items()}


def unchanged(tensors: Tensors) -> Tensors:
    return tensors


OPTIONAL = frozenset({"output.weight", "rope_freqs.weight"})


@dataclass(frozen=True)
class Case:
    """metadata: keys after `<architecture>.`. shapes: of each tensor, by its full name. model: makes transformers' model, on
    random weights of its own. to_hugging_face: gives the file's tensors transformers' layout; what it returns goes by
    transformers' names, or by GGUF names that gguf's own table translates. n_tokens: of the text. tolerance: of float64
    against float64, larger where the file rounds what transformers does not. values: of tensors that are not random.
    optional: weights that other files of the family do without.
    """

    architecture: str
    metadata: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    model: Callable[[], Any]
    to_hugging_face: Callable[[Tensors], Tensors] = unchanged
    n_tokens: int = 100
    tolerance: float = 1e-9
    values: Mapping[str, Array] = field(default_factory=dict)
    optional: frozenset[str] = OPTIONAL

    def tensors(self, seed: int = 0) -> dict[str, NDArray[np.float32]]:
        return {
            name: self.values[name].astype(np.float32) if name in self.values else random_tensor(name, shape, seed)
            for name, shape in self.shapes.items()
        }

    def write(self, path: Path, type_: str = "F32") -> Path:
        """A GGUF file. type_: of all matrices; vectors, and norms with a row a head, are F32."""
        types = {name: type_ for name in self.matrices}
        return tiny_models.write(path, self.tensors(), self.metadata, types, self.architecture)

    def ids(self, n: int = 0) -> NDArray[np.int32]:
        n_vocab = self.shapes["token_embd.weight"][0]
        return np.random.default_rng(7).integers(0, n_vocab, n or self.n_tokens).astype(np.int32)

    @property
    def matrices(self) -> list[str]:
        return [name for name, shape in self.shapes.items() if len(shape) > 1 and "norm" not in name]


def name_map(architecture: str, n_layers: int) -> gguf.TensorNameMap:
    """gguf's own table of transformers' names."""
    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    return gguf.get_tensor_name_map(kinds[architecture], n_layers)


def random_tensor(name: str, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """Norms around 1, biases around 0; matrices keep a signal of size 1, but for those of tokens: logits spread by 3."""
    rng = np.random.default_rng([seed, *name.encode()])
    if name.endswith(".bias"):
        return (0.5 * rng.standard_normal(shape)).astype(np.float32)
    if "norm" in name:
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    gain = 3 if name in ("token_embd.weight", "output.weight") else 1
    scales = np.exp2(rng.uniform(-1, 1, (*shape[:-1], 1)))
    return (gain * scales * rng.standard_normal(shape) / shape[-1] ** 0.5).astype(np.float32)


def split(tensors: Tensors, name: str, parts: Mapping[str, int]) -> Tensors:
    """Without the tensors of this short name, whose rows become tensors of their own: `parts` has their names and numbers of
    rows."""
    result = dict(tensors)
    for full in [n for n in tensors if n.split(".")[-2] == name]:
        ends = np.cumsum([0, *parts.values()])
        for part, at, end in zip(parts, ends[:-1], ends[1:], strict=True):
            result[full.replace(name, part)] = tensors[full][at:end]
        del result[full]
    return result


def join(tensors: Tensors, names: list[str], joined: str) -> Tensors:
    """The reverse: rows of tensors with these short names, one after the other."""
    result = dict(tensors)
    for first in [n for n in tensors if n.split(".")[-2] == names[0]]:
        every = [first.replace(names[0], name) for name in names]
        result[first.replace(names[0], joined)] = np.concatenate([result.pop(n) for n in every])
    return result


def norms_less_one(tensors: Tensors) -> Tensors:
    """Gemma's norms multiply by 1 + w in transformers, and by what GGUF holds."""
    return {name: tensor - 1 if "norm" in name else tensor for name, tensor in tensors.items()}


def unpermute(tensors: Tensors, n_heads: int = N_HEADS, n_kv_heads: int = N_KV_HEADS) -> Tensors:
    """q's and k's rows from the order of families whose rotary pairs are neighbours in GGUF to transformers': half a head
    apart."""
    heads = {"attn_q": n_heads, "attn_k": n_kv_heads}
    return {
        name: _halves_apart(tensor, heads[name.split(".")[-2]]) if name.split(".")[-2] in heads else tensor
        for name, tensor in tensors.items()
    }


def _halves_apart(tensor: Array, n_heads: int) -> Array:
    pairs = tensor.reshape(n_heads, -1, 2, *tensor.shape[1:])
    return pairs.swapaxes(1, 2).reshape(tensor.shape)
