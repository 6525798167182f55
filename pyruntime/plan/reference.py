"""The plan in NumPy: what each operation means, in float64, from dequantized weights.

This is the oracle that the core is tested against, and the page to read to see what a model computes. It shares nothing
with the core but the plan: no packing, no quantized activations, no KV pages, no blocks. `OPERATIONS` mirrors the
table in csrc/engine/operations.cpp.

    reference = from_gguf("model.gguf")
    logits = reference.run([1, 15, 4])  # (3, n_vocab)
    print(reference.plan.dump())        # %7 in there is reference.values[7]
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pyruntime.plan.builder import Plan, Step

Array = NDArray[np.float64]  # or of the interpreter's dtype
Stored = NDArray[np.floating[Any]]  # weights may come in another dtype
Weighted = tuple[Array, ...]  # the weights of a step


@dataclass(slots=True)
class State:
    """What the operations of a run share: n tokens of one sequence, of which the rows `outputs` want logits."""

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    outputs: NDArray[np.int64]
    head_dims: list[int]  # of each cache
    dtype: DTypeLike
    caches: dict[int, tuple[Array, Array]] = field(default_factory=dict)  # k and v: (n, n_kv_heads, head_dim)


def embedding(state: State, w: Weighted) -> Array:
    (table,) = w  # (n_vocab, d_model)
    return np.take(table, state.ids, axis=0)


def rms_norm(_: State, w: Weighted, x: Array, *, eps: float) -> Array:
    (weight,) = w
    mean_square: Array = np.mean(x * x, axis=-1, keepdims=True)
    return x / np.sqrt(mean_square + eps) * weight


def quantize(_: State, w: Weighted, x: Array) -> Array:
    return x  # the core rounds to int8 here; that is what its error budget pays for


def add(_: State, w: Weighted, a: Array, b: Array) -> Array:
    return a + b


def linear(_: State, w: Weighted, x: Array, residual: Array | None = None) -> list[Array]:
    products = [x @ matrix.T for matrix in w]  # a matrix maps its cols to its rows
    return products if residual is None else [residual + product for product in products]


def gated_ffn(state: State, w: Weighted, x: Array) -> Array:
    gate, up = linear(state, w, x)
    sigmoid: Array = 1 / (1 + np.exp(-gate))
    return gate * sigmoid * up


def rope_table(state: State, w: Weighted, *, n_rot: float, theta: float) -> Array:
    inverse_frequency = theta ** -(np.arange(0, n_rot, 2) / n_rot)  # of each pair
    angles = np.outer(state.positions, inverse_frequency)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=-1).astype(state.dtype)


def rope(_: State, w: Weighted, x: Array, table: Array, *, head_dim: float, neox: float) -> Array:
    n_rot = table.shape[-1]
    cos, sin = np.split(table[:, np.newaxis], 2, axis=-1)  # (n, 1, n_rot / 2), the same for every head
    pairs = (slice(0, n_rot // 2), slice(n_rot // 2, n_rot)) if neox else (slice(0, n_rot, 2), slice(1, n_rot, 2))
    y = x.reshape(len(x), -1, int(head_dim)).copy()  # (n, n_heads, head_dim); from n_rot on nothing turns
    a, b = (y[..., pair].copy() for pair in pairs)
    y[..., pairs[0]] = a * cos - b * sin
    y[..., pairs[1]] = a * sin + b * cos
    return y.reshape(x.shape)


def kv_store(state: State, w: Weighted, k: Array, v: Array, *, cache: float) -> list[Array]:
    shape = (len(k), -1, state.head_dims[int(cache)])
    state.caches[int(cache)] = k.reshape(shape), v.reshape(shape)
    return []


def attention(
    state: State, w: Weighted, q: Array, *, cache: float, n_heads: float, scale: float, window: float
) -> Array:
    k, v = (x.swapaxes(0, 1)[:, np.newaxis] for x in state.caches[int(cache)])  # (n_kv_heads, 1, n, head_dim)
    n_kv_heads, _, n, head_dim = k.shape
    group = int(n_heads) // n_kv_heads  # neighbouring query heads share a key-value head
    queries = q.reshape(n, n_kv_heads, group, head_dim).transpose(1, 2, 0, 3)  # (n_kv_heads, group, n, head_dim)
    scores = queries @ k.swapaxes(-1, -2) * scale  # of key j for query i: (n_kv_heads, group, n, n)
    behind = state.positions[:, np.newaxis] - state.positions  # by how many positions j lies behind i
    seen = (behind >= 0) & ((behind < window) | (window == 0))
    share = np.exp(np.where(seen, scores, -np.inf) - scores.max(axis=-1, keepdims=True, where=seen, initial=-np.inf))
    share /= share.sum(axis=-1, keepdims=True)
    y: Array = share @ v
    return y.transpose(2, 0, 1, 3).reshape(q.shape)


def gather_outputs(state: State, w: Weighted, x: Array) -> Array:
    return np.take(x, state.outputs, axis=0)


OPERATIONS: dict[str, Callable[..., Array | list[Array]]] = {
    "embedding": embedding,
    "rms_norm": rms_norm,
    "quantize": quantize,
    "add": add,
    "rope_table": rope_table,
    "rope": rope,
    "kv_store": kv_store,
    "attention": attention,
    "gather_outputs": gather_outputs,
    "linear": linear,
    "gated_ffn": gated_ffn,
}


class ReferenceInterpreter:
    """Runs a plan on whole sequences.

    weights: float arrays by the names in the plan, or a function that gives them; looked up anew at every use, so that a
    large model need not be in memory as float64. Of the last run `values` keeps everything: keep the text short.
    """

    def __init__(
        self, plan: Plan, weights: Mapping[str, Stored] | Callable[[str], Stored], dtype: DTypeLike = np.float64
    ) -> None:
        self.plan = plan
        self.values: dict[int, Array] = {}  # of the last run: every value by its id, (n or n_out, width)
        self._weight: Callable[[str], Stored] = weights if callable(weights) else weights.__getitem__
        self._dtype = dtype

    def run(
        self,
        ids: Sequence[int] | NDArray[np.integer[Any]],
        positions: Sequence[int] | None = None,
        outputs: Literal["all", "last"] | Sequence[int] = "all",
    ) -> Array:
        """The logits (n_out, n_vocab) of a sequence.

        positions: of each token; default 0, 1, 2, ...
        outputs: the tokens whose logits are wanted: all, the last, or their indices.
        """
        n = len(ids)
        chosen = {"all": range(n), "last": range(n - 1, n)}[outputs] if isinstance(outputs, str) else outputs
        state = State(
            ids=np.asarray(ids, np.int64),
            positions=np.asarray(range(n) if positions is None else positions, np.int64),
            outputs=np.asarray(chosen, np.int64),
            head_dims=[head_dim for _, head_dim in self.plan.caches],
            dtype=self._dtype,
        )
        self.values = {}
        for step in self.plan.steps:
            self.values.update(zip(step.outputs, self._run(step, state), strict=True))
        return self.values[self.plan.logits]

    def _run(self, step: Step, state: State) -> list[Array]:
        w = tuple(np.asarray(self._weight(name), self._dtype) for name in step.weights)
        inputs = [self.values[i] for i in step.inputs]
        result = OPERATIONS[step.op](state, w, *inputs, **step.attributes)
        return result if isinstance(result, list) else [result]


def from_gguf(path: str | os.PathLike[str], dtype: DTypeLike = np.float64) -> ReferenceInterpreter:
    """The interpreter of a model file. GGUFError, UnsupportedError as for `Model`."""
    from pyruntime import _core, arch  # layers beside and above: the interpreter itself needs neither

    file = _core.GGUF(os.fspath(path))  # stays open: weights are read when they are used
    return ReferenceInterpreter(arch.blueprint(file).plan, file.dequantize, dtype)
