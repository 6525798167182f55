"""Mixture of experts (arXiv:1701.06538): a router, products with the chosen experts alone, and their weighted sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pyruntime.errors import UnsupportedError
from pyruntime.plan.operations.base import Base
from pyruntime.plan.operations.rows import ACTIVATIONS, Activation
from pyruntime.plan.values import Value
from pyruntime.plan.weights import Weight

Gating = Literal["softmax", "sigmoid", "softmax_of_chosen"]
GATINGS: tuple[Gating, ...] = ("softmax", "sigmoid", "softmax_of_chosen")  # code: position


@dataclass(frozen=True, slots=True)
class Routing:
    """How `n_used` experts are chosen, and weighed.

    gating: the scores of all experts are a softmax or sigmoids of the router's logits; or the experts are chosen by their logits,
    and weighed by a softmax over the chosen ones. n_groups, n_groups_used: only the best groups of neighbouring experts
    take part, a group being as good as the sum of its best `group_top` (arXiv:2412.19437). normalize: the chosen weights are
    divided by their sum. scale: then multiplied by this. Ties go to the lower id.
    """

    n_used: int
    gating: Gating = "softmax"
    normalize: bool = False
    scale: float = 1.0
    n_groups: int = 1
    n_groups_used: int = 1
    group_top: int = 1


class Experts(Base):
    def __init__(self, path: str = "", fused: bool = True) -> None:
        super().__init__(path, fused)
        self._n_experts: dict[int, int] = {}  # that each value of routes chooses from

    def route(self, logits: Value, routing: Routing, bias: Weight | None = None) -> Value:
        """The chosen experts of each token, best first: n_used ids, then as many weights. logits: (n_experts). bias (n_experts,)
        is added to the scores for the choice, not for the weights."""
        n_experts = logits.width
        groups_fit = routing.n_groups >= 1 and n_experts % routing.n_groups == 0
        if not groups_fit or not 1 <= routing.n_groups_used <= routing.n_groups:
            self._fail(f"experts: {routing.n_groups_used} of {routing.n_groups} groups of {n_experts} experts")
        if not 1 <= routing.n_used <= n_experts // routing.n_groups * routing.n_groups_used:
            self._fail(f"experts: {routing.n_used} of {n_experts} experts are used")
        y = self._value(2 * routing.n_used, logits.rows)
        self._n_experts[y.id] = n_experts
        attributes: dict[str, float] = {
            "n_used": routing.n_used,
            "gating": GATINGS.index(routing.gating),
            "normalize": routing.normalize,
            "scale": routing.scale,
            "n_groups": routing.n_groups,
            "n_groups_used": routing.n_groups_used,
            "group_top": routing.group_top,
        }
        if bias is not None:
            attributes["bias"] = 1
        self._step("route", (logits,), (y,), self._flat(bias, (n_experts,)), **attributes)
        return y

    def experts_gated(
        self, x: Value, routes: Value, gate: Weight, up: Weight, activation: Activation = "silu",
        biases: tuple[Weight, Weight] | None = None,
    ) -> Value:  # fmt: skip
        """Of each chosen expert e: `activation(x @ gate[e].T + gate_bias[e]) * (x @ up[e].T + up_bias[e])`; a row is the
        results of all ranks, (n_used * d_ff). gate, up: (n_experts, d_ff, d_model); biases (n_experts, d_ff)."""
        n_experts, d_ff = self._experts(gate, routes, x.width)
        if gate.shape != up.shape:
            self._fail(f"tensor {up.name}: shape {up.shape} differs from {gate.name}'s {gate.shape}")
        if gate.quantized != up.quantized:
            raise UnsupportedError(
                f"{self._file}tensors {gate.name} ({gate.type}) and {up.name} ({up.type}) mix float and quantized"
            )
        flat: tuple[Weight, ...] = ()
        attributes: dict[str, float] = {"activation": ACTIVATIONS.index(activation)}
        if biases is not None:
            attributes["bias"] = 1
            flat = tuple(w for bias in biases for w in self._flat(bias, (n_experts, d_ff)))
        y = self._value(routes.width // 2 * d_ff, x.rows)
        self._step("experts_gated", (self._operand(x, gate), routes), (y,), (gate, up, *flat), **attributes)
        return y

    def experts_linear(self, x: Value, routes: Value, weight: Weight, bias: Weight | None = None) -> Value:
        """Of each chosen expert e of rank r: `x[r] @ weight[e].T + bias[e]`; rows as of `experts_gated`.
        weight: (n_experts, rows, cols); bias (n_experts, rows)."""
        n_used = routes.width // 2
        if x.width % n_used:
            self._fail(f"tensor {weight.name}: {x.width} is not {n_used} equal parts")
        n_experts, rows = self._experts(weight, routes, x.width // n_used)
        y = self._value(n_used * rows, x.rows)
        attributes = {} if bias is None else {"bias": 1.0}
        operands = (self._operand(x, weight, x.width // n_used), routes)
        self._step("experts_linear", operands, (y,), (weight, *self._flat(bias, (n_experts, rows))), **attributes)
        return y

    def combine(self, x: Value, routes: Value) -> Value:
        """The weighted sum of the chosen experts' results, in the order of their rank."""
        n_used = routes.width // 2
        if x.width % n_used:
            self._fail(f"experts: {x.width} is not {n_used} equal parts")
        y = self._value(x.width // n_used, x.rows)
        self._step("combine", (x, routes), (y,))
        return y

    def _experts(self, weight: Weight, routes: Value, cols: int) -> tuple[int, int]:
        n_experts = self._n_experts[routes.id]
        if len(weight.shape) != 3 or (weight.shape[0], weight.shape[2]) != (n_experts, cols):
            self._fail(f"tensor {weight.name}: shape {weight.shape} where ({n_experts}, any, {cols}) is needed")
        return weight.shape[0], weight.shape[1]
