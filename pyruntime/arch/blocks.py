"""Blocks that several families share. One that needs a seventh parameter is written out in its own file instead."""

from __future__ import annotations

import math
from typing import Literal

from pyruntime.arch.hparams import HParams
from pyruntime.errors import UnsupportedError
from pyruntime.plan import PlanBuilder, Routing, Value, Weights
from pyruntime.plan.operations.experts import Gating
from pyruntime.plan.operations.rows import Activation


def qkv(b: PlanBuilder, hp: HParams, layer: Weights, h: Value) -> tuple[Value, Value, Value]:
    """Queries (n_heads * head_dim), keys (n_kv_heads * head_dim) and values (n_kv_heads * value_dim), of three tensors or of a
    fused one, with biases where the file has them."""
    widths = hp.n_heads * hp.head_dim, hp.n_kv_heads * hp.head_dim, hp.n_kv_heads * hp.value_dim
    fused = layer.optional("attn_qkv")
    if fused is not None:
        if fused.shape != (sum(widths), h.width):
            hp.fail_shape(fused, (sum(widths), h.width))
        x = b.linear(h, fused, layer.bias("attn_qkv"))
        q, k, v = (b.slice(x, sum(widths[:i]), width) for i, width in enumerate(widths))
    else:
        names = ("attn_q", "attn_k", "attn_v")
        for name, rows in zip(names, widths, strict=True):
            if layer[name].shape != (rows, h.width):
                hp.fail_shape(layer[name], (rows, h.width))
        q, k, v = b.linear_many(h, [layer[n] for n in names], [layer.bias(n) for n in names])
    return q, k, v


def attention(
    b: PlanBuilder, hp: HParams, layer: Weights, h: Value, table: Value, mode: Literal["norm", "neox"]
) -> Value:
    """Grouped-query attention (arXiv:2305.13245) with rotary positions; every layer has the window of the file, if it has one."""
    q, k, v = qkv(b, hp, layer, h)
    q = b.rope(q, table, hp.head_dim, mode)
    k = b.rope(k, table, hp.head_dim, mode)
    window = hp.count("attention.sliding_window")
    return b.attention(q, k, v, hp.n_heads, hp.n_kv_heads, score_scale(hp), window=window)


def score_scale(hp: HParams) -> float:
    """1 / sqrt(head_dim), or what the file says."""
    return hp.number("attention.scale", 1 / math.sqrt(hp.head_dim))


def normed_qk(b: PlanBuilder, hp: HParams, layer: Weights, q: Value, k: Value) -> tuple[Value, Value]:
    """Each head of the queries and keys normed (arXiv:2302.05442), before they turn."""
    eps = hp.number("attention.layer_norm_rms_epsilon")
    for name in ("attn_q_norm", "attn_k_norm"):
        if layer[name].shape != (hp.head_dim,):
            hp.fail_shape(layer[name], (hp.head_dim,))
    q = b.rms_norm(q, layer["attn_q_norm"], eps, hp.head_dim)
    return q, b.rms_norm(k, layer["attn_k_norm"], eps, hp.head_dim)


def head_norm(b: PlanBuilder, hp: HParams, layer: Weights, name: str, x: Value) -> Value:
    """Each head with the layer norm of this name, weights of its own and no bias; x itself where the file has none."""
    weight = layer.optional(name)
    if weight is None:
        return x
    return b.layer_norm(x, weight, None, hp.number("attention.layer_norm_epsilon"), hp.head_dim)


def windows(hp: HParams, every: int) -> list[int]:
    """Each layer's window, 0 for one that sees everything: every n-th, or as `attention.sliding_window_pattern` says."""
    window = hp.count("attention.sliding_window")
    pattern = hp.pattern("attention.sliding_window_pattern", [(i + 1) % every != 0 for i in range(hp.n_layers)])
    return [window if has else 0 for has in pattern]


def gated_ffn(
    b: PlanBuilder, layer: Weights, h: Value, residual: Value | None, activation: Activation = "silu", suffix: str = ""
) -> Value:
    """`residual + (activation(h gate) * (h up)) down`; the tensors' names end in `suffix`."""
    hidden = b.gated_ffn(h, layer[f"ffn_gate{suffix}"], layer[f"ffn_up{suffix}"], activation)
    return b.linear(hidden, layer[f"ffn_down{suffix}"], residual=residual)


def routing(hp: HParams, normalize: bool = False) -> Routing:
    """How the file says that experts are chosen; whether weights are normalized is the family's where it does not say."""
    gatings: dict[int, Gating] = {0: "softmax", 1: "softmax", 2: "sigmoid"}
    gating = hp.count("expert_gating_func")
    if gating not in gatings:
        raise UnsupportedError(f"{hp.path}: expert_gating_func {gating} is not supported by this version")
    return Routing(
        hp.integer("expert_used_count"),
        gatings[gating],
        normalize=hp.flag("expert_weights_norm", normalize),
        scale=hp.number("expert_weights_scale", 1.0),
    )


def fused_gated_ffn(b: PlanBuilder, hp: HParams, layer: Weights, h: Value, residual: Value | None) -> Value:
    """The same with the rows of gate and up in one tensor, in this order."""
    d_ff = hp.integer("feed_forward_length")
    if layer["ffn_up"].shape != (2 * d_ff, h.width):
        hp.fail_shape(layer["ffn_up"], (2 * d_ff, h.width))
    both = b.linear(h, layer["ffn_up"])
    hidden = b.gated(b.slice(both, 0, d_ff), b.slice(both, d_ff, d_ff), "silu")
    return b.linear(hidden, layer["ffn_down"], residual=residual)


def plain_ffn(b: PlanBuilder, layer: Weights, h: Value, residual: Value, activation: Activation) -> Value:
    """`residual + activation(h up) down`, with biases where the file has them."""
    hidden = b.activation(b.linear(h, layer["ffn_up"], layer.bias("ffn_up")), activation)
    return b.linear(hidden, layer["ffn_down"], layer.bias("ffn_down"), residual=residual)


def layer_norm(b: PlanBuilder, w: Weights, name: str, x: Value, eps: float) -> Value:
    """The layer norm of this name, with a bias where the file has one."""
    return b.layer_norm(x, w[name], w.bias(name), eps)


def experts(b: PlanBuilder, layer: Weights, h: Value, routing: Routing, activation: Activation = "silu") -> Value:
    """The weighted sum of the chosen experts' gated feed-forwards; no residual."""
    routes = b.route(b.linear(h, layer["ffn_gate_inp"]), routing, layer.bias("exp_probs_b"))
    hidden = b.experts_gated(h, routes, layer["ffn_gate_exps"], layer["ffn_up_exps"], activation)
    return b.combine(b.experts_linear(hidden, routes, layer["ffn_down_exps"]), routes)


def logits(b: PlanBuilder, hp: HParams, w: Weights, x: Value, eps: float) -> Value:
    """The final norm and the head, for the positions that want logits. Without an `output` the embedding's table is the head."""
    return head(b, w, b.rms_norm(b.outputs(x), w["output_norm"], eps))


def head(b: PlanBuilder, w: Weights, h: Value) -> Value:
    """Logits of normed rows."""
    return b.linear(h, w["output"] if "output" in w else w["token_embd"], w.bias("output"))
