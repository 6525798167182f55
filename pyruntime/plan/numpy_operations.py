"""What each operation of a plan means: one NumPy function each, in float64 from dequantized weights.

`plan/reference.py` runs them. `OPERATIONS` mirrors the table in csrc/engine/operations.cpp. Each takes the run's state, the
step's weights, its inputs and, as keywords, its attributes (an attribute that a step leaves out has the default here).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pyruntime.plan.operations.experts import GATINGS
from pyruntime.plan.operations.rows import ACTIVATIONS
from pyruntime.plan.values import Cache

Array = NDArray[np.float64]  # or of the interpreter's dtype
Weighted = tuple[Array, ...]  # the weights of a step


@dataclass(slots=True)
class State:
    """What the operations of a run share: n tokens of one sequence, of which the rows `outputs` want logits."""

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    outputs: NDArray[np.int64]
    caches: list[Cache]
    dtype: DTypeLike
    stored: dict[int, tuple[Array, Array]] = field(default_factory=dict)  # k and v: (n, n_kv_heads, their width)


# Rows


def embedding(state: State, w: Weighted) -> Array:
    (table,) = w  # (n_vocab, d_model)
    return np.take(table, state.ids, axis=0)


def position_embedding(state: State, w: Weighted) -> Array:
    (table,) = w
    return np.take(table, state.positions, axis=0)


def rms_norm(_: State, w: Weighted, x: Array, *, eps: float, head_dim: float = 0, weight: float = 1) -> Array:
    heads = x.reshape(len(x), -1, int(head_dim) or x.shape[1])
    y = heads / np.sqrt(np.mean(heads * heads, axis=-1, keepdims=True) + eps)
    return (y * w[0] if weight else y).reshape(x.shape)


def layer_norm(
    _: State, w: Weighted, x: Array, *, eps: float, head_dim: float = 0, weight: float = 1, bias: float = 0
) -> Array:
    heads = x.reshape(len(x), -1, int(head_dim) or x.shape[1])
    centred = heads - heads.mean(axis=-1, keepdims=True)
    y = centred / np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True) + eps)
    y = y * w[0] if weight else y
    return (y + w[-1] if bias else y).reshape(x.shape)


def quantize(_: State, w: Weighted, x: Array) -> Array:
    return x  # the core rounds to int8 here; that is what its error budget pays for


def add(_: State, w: Weighted, a: Array, b: Array) -> Array:
    return a + b


def scale(_: State, w: Weighted, x: Array, *, factor: float) -> Array:
    return x * factor


def softcap(_: State, w: Weighted, x: Array, *, cap: float) -> Array:
    return cap * np.tanh(x / cap)


def _sigmoid(x: Array) -> Array:
    with np.errstate(over="ignore"):  # an infinity there is the 0 that it should be
        return 1 / (1 + np.exp(-x))


def _activate(x: Array, kind: float) -> Array:
    name = ACTIVATIONS[int(kind)]
    if name == "silu":
        return x * _sigmoid(x)
    if name == "gelu":
        erfc = np.vectorize(math.erfc, otypes=[x.dtype])  # 1 + erf(z) is erfc(-z), which keeps its digits
        return x / 2 * erfc(-x / math.sqrt(2))
    if name == "gelu_tanh":  # so is (1 + tanh(z)) / 2 the sigmoid of 2z
        return x * _sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    return np.maximum(x, 0) ** {"relu": 1, "relu2": 2}[name]


def _gate(gate: Array, up: Array, kind: float) -> Array:
    if ACTIVATIONS[int(kind)] == "swiglu_oai":
        gate = np.minimum(gate, 7)
        return gate * _sigmoid(1.702 * gate) * (np.clip(up, -7, 7) + 1)
    return _activate(gate, kind) * up


def activation(_: State, w: Weighted, x: Array, *, kind: float) -> Array:
    return _activate(x, kind)


def gated(_: State, w: Weighted, gate: Array, up: Array, *, kind: float) -> Array:
    return _gate(gate, up, kind)


def sigmoid_gate(_: State, w: Weighted, x: Array, gate: Array) -> Array:
    return x * _sigmoid(gate)


def slice_heads(_: State, w: Weighted, x: Array, *, first: float, n_heads: float, width: float) -> Array:
    part = slice(int(first), int(first) + int(width))
    return x.reshape(len(x), int(n_heads), -1)[..., part].reshape(len(x), -1)


def join_heads(_: State, w: Weighted, a: Array, b: Array, *, n_heads: float, shared: float) -> Array:
    n, heads = len(a), int(n_heads)
    second = np.repeat(b[:, np.newaxis], heads, axis=1) if shared else b.reshape(n, heads, -1)
    return np.concatenate([a.reshape(n, heads, -1), second], axis=-1).reshape(n, -1)


def gather_outputs(state: State, w: Weighted, x: Array) -> Array:
    return np.take(x, state.outputs, axis=0)


# Products


def linear(_: State, w: Weighted, x: Array, residual: Array | None = None, *, bias: float = 0) -> list[Array]:
    matrices, biases = (w[: len(w) // 2], w[len(w) // 2 :]) if bias else (w, ())
    products = [
        x @ np.atleast_2d(matrix).T for matrix in matrices
    ]  # a matrix maps its cols to its rows; a vector is one row
    if bias:
        products = [product + b for product, b in zip(products, biases, strict=True)]
    return products if residual is None else [residual + product for product in products]


def gated_ffn(_: State, w: Weighted, x: Array, *, activation: float = 0) -> Array:
    gate, up = w
    return _gate(x @ gate.T, x @ up.T, activation)


def head_linear(_: State, w: Weighted, x: Array) -> Array:
    (weight,) = w  # (n_heads, rows, cols)
    heads = x.reshape(len(x), weight.shape[0], weight.shape[2])
    return np.einsum("nhc,hrc->nhr", heads, weight).reshape(len(x), -1)


# Attention


def rope_table(
    state: State, w: Weighted, *, n_rot: float, theta: float, factor: float = 1, original_context: float = 0,
    beta_fast: float = 32, beta_slow: float = 1, truncate: float = 1, magnitude: float = 1, factors: float = 0,
    temperature: float = 0, temperature_length: float = 1,
) -> Array:  # fmt: skip
    inverse_frequency = theta ** -(np.arange(0, n_rot, 2) / n_rot)  # of each pair
    if factors:
        inverse_frequency = inverse_frequency / w[0]
    if original_context:
        low, high = (
            n_rot * math.log(original_context / (turns * 2 * math.pi)) / (2 * math.log(theta))
            for turns in (beta_fast, beta_slow)
        )
        if truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, n_rot - 1)
        stretched = np.clip((np.arange(n_rot // 2) - low) / max(high - low, 0.001), 0, 1)
        inverse_frequency = inverse_frequency * (stretched / factor + 1 - stretched)
    else:
        inverse_frequency = inverse_frequency / factor
    angles = np.outer(state.positions, inverse_frequency)
    warmth = 1 + temperature * np.log1p(state.positions // temperature_length)
    return (magnitude * warmth[:, np.newaxis] * np.concatenate([np.cos(angles), np.sin(angles)], axis=-1)).astype(
        state.dtype
    )


def rope(_: State, w: Weighted, x: Array, table: Array, *, head_dim: float, neox: float, first: float = 0) -> Array:
    n_rot, start = table.shape[-1], int(first)
    cos, sin = np.split(table[:, np.newaxis], 2, axis=-1)  # (n, 1, n_rot / 2), the same for every head
    end = start + n_rot
    middle = start + n_rot // 2
    pairs = (slice(start, middle), slice(middle, end)) if neox else (slice(start, end, 2), slice(start + 1, end, 2))
    y = x.reshape(len(x), -1, int(head_dim)).copy()  # (n, n_heads, head_dim); what lies outside does not turn
    a, b = (y[..., pair].copy() for pair in pairs)
    y[..., pairs[0]] = a * cos - b * sin
    y[..., pairs[1]] = a * sin + b * cos
    return y.reshape(x.shape)


def kv_store(state: State, w: Weighted, k: Array, v: Array, *, cache: float) -> list[Array]:
    heads = state.caches[int(cache)].n_kv_heads
    state.stored[int(cache)] = k.reshape(len(k), heads, -1), v.reshape(len(v), heads, -1)
    return []


def latent_store(state: State, w: Weighted, latent: Array, *, cache: float) -> list[Array]:
    value_dim = state.caches[int(cache)].value_dim
    state.stored[int(cache)] = latent[:, np.newaxis], latent[:, np.newaxis, :value_dim]
    return []


def attention(
    state: State, w: Weighted, q: Array, *, cache: float, n_heads: float, scale: float, window: float = 0,
    softcap: float = 0, alibi: float = 0, sinks: float = 0,
) -> Array:  # fmt: skip
    k, v = (x.swapaxes(0, 1)[:, np.newaxis] for x in state.stored[int(cache)])  # (n_kv_heads, 1, n, head_dim)
    n_kv_heads, _, n, head_dim = k.shape
    group = int(n_heads) // n_kv_heads  # neighbouring query heads share a key-value head
    queries = q.reshape(n, n_kv_heads, group, head_dim).transpose(1, 2, 0, 3)  # (n_kv_heads, group, n, head_dim)
    scores = queries @ k.swapaxes(-1, -2) * scale  # of key j for query i: (n_kv_heads, group, n, n)
    if softcap:
        scores = softcap * np.tanh(scores / softcap)
    behind = state.positions[:, np.newaxis] - state.positions  # by how many positions j lies behind i
    if alibi:
        scores = scores - _alibi_slopes(int(n_heads), alibi).reshape(n_kv_heads, group, 1, 1) * behind
    seen = (behind >= 0) & ((behind < window) | (window == 0))
    largest = scores.max(axis=-1, keepdims=True, where=seen, initial=-np.inf)
    if sinks:
        sink = w[0].reshape(n_kv_heads, group, 1, 1)
        largest = np.maximum(largest, sink)
    share = np.exp(np.where(seen, scores, -np.inf) - largest)
    share /= share.sum(axis=-1, keepdims=True) + (np.exp(sink - largest) if sinks else 0)
    y = share @ v
    return y.transpose(2, 0, 1, 3).reshape(n, -1)


def _alibi_slopes(n_heads: int, largest: float) -> Array:
    """arXiv:2108.12409: powers of 2^(-largest / n) for n heads, a power of two; further heads lie between."""
    whole = 1 << (n_heads.bit_length() - 1)
    first = 2.0 ** (-largest / whole * np.arange(1, whole + 1))
    rest = 2.0 ** (-largest / 2 / whole * np.arange(1, 2 * (n_heads - whole), 2))
    return np.concatenate([first, rest])


# Experts


def route(
    _: State, w: Weighted, logits: Array, *, n_used: float, gating: float, normalize: float, scale: float,
    n_groups: float, n_groups_used: float, group_top: float, bias: float = 0,
) -> Array:  # fmt: skip
    kind, used = GATINGS[int(gating)], int(n_used)
    scores = {"softmax": _softmax, "sigmoid": _sigmoid}.get(kind, np.array)(logits)
    choice = scores + w[0] if bias else scores
    if n_groups_used < n_groups:
        groups = choice.reshape(len(logits), int(n_groups), -1)
        worth = np.sort(groups, axis=-1)[..., -int(group_top) :].sum(axis=-1)
        left_out = np.argsort(-worth, axis=-1, kind="stable")[:, int(n_groups_used) :]
        np.put_along_axis(groups := groups.copy(), left_out[..., np.newaxis], -np.inf, axis=1)
        choice = groups.reshape(choice.shape)
    ids = np.argsort(-choice, axis=-1, kind="stable")[:, :used]
    weights = np.take_along_axis(scores, ids, axis=-1)
    if kind == "softmax_of_chosen":
        weights = _softmax(weights)
    if normalize:
        weights = weights / weights.sum(axis=-1, keepdims=True)
    return np.concatenate([ids.astype(weights.dtype), weights * scale], axis=-1)


def _softmax(x: Array) -> Array:
    y = np.exp(x - x.max(axis=-1, keepdims=True))
    return y / y.sum(axis=-1, keepdims=True)


def _chosen(routes: Array) -> NDArray[np.int64]:
    return routes[:, : routes.shape[1] // 2].astype(np.int64)  # (n, n_used)


def experts_gated(_: State, w: Weighted, x: Array, routes: Array, *, activation: float, bias: float = 0) -> Array:
    ids = _chosen(routes)
    gate, up = (np.einsum("nc,nurc->nur", x, matrix[ids]) for matrix in w[:2])
    if bias:
        gate, up = gate + w[2][ids], up + w[3][ids]
    return _gate(gate, up, activation).reshape(len(x), -1)


def experts_linear(_: State, w: Weighted, x: Array, routes: Array, *, bias: float = 0) -> Array:
    ids = _chosen(routes)
    y = np.einsum("nuc,nurc->nur", x.reshape(*ids.shape, -1), w[0][ids])
    return (y + w[1][ids] if bias else y).reshape(len(x), -1)


def combine(_: State, w: Weighted, x: Array, routes: Array) -> Array:
    weights = routes[:, routes.shape[1] // 2 :]
    return np.einsum("nu,nur->nr", weights, x.reshape(*weights.shape, -1))


OPERATIONS: dict[str, Callable[..., Array | list[Array]]] = {
    "embedding": embedding,
    "position_embedding": position_embedding,
    "rms_norm": rms_norm,
    "layer_norm": layer_norm,
    "quantize": quantize,
    "add": add,
    "scale": scale,
    "softcap": softcap,
    "activation": activation,
    "gated": gated,
    "sigmoid_gate": sigmoid_gate,
    "slice": slice_heads,
    "join_heads": join_heads,
    "rope_table": rope_table,
    "rope": rope,
    "kv_store": kv_store,
    "attention": attention,
    "latent_store": latent_store,
    "latent_attention": attention,
    "gather_outputs": gather_outputs,
    "linear": linear,
    "gated_ffn": gated_ffn,
    "head_linear": head_linear,
    "route": route,
    "experts_gated": experts_gated,
    "experts_linear": experts_linear,
    "combine": combine,
}
