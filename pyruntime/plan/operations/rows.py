"""Operations on each row alone: norms, activations, sums, parts of rows."""

from __future__ import annotations

from typing import Literal

from pyruntime.plan.operations.base import Base
from pyruntime.plan.values import Value
from pyruntime.plan.weights import Weight

Activation = Literal["silu", "gelu", "gelu_tanh", "relu", "relu2", "swiglu_oai"]
ACTIVATIONS: tuple[Activation, ...] = ("silu", "gelu", "gelu_tanh", "relu", "relu2", "swiglu_oai")  # code: position


class RowOperations(Base):
    def rms_norm(self, x: Value, weight: Weight | None, eps: float, head_dim: int = 0) -> Value:
        """`x / sqrt(mean(x^2) + eps) * weight` over each row (arXiv:1910.07467), or over each head of `head_dim`; one weight
        serves all heads, or each has its own."""
        return self._norm("rms_norm", x, weight, None, eps, head_dim)

    def layer_norm(self, x: Value, weight: Weight | None, bias: Weight | None, eps: float, head_dim: int = 0) -> Value:
        """`(x - mean) / sqrt(var + eps) * weight + bias` over each row (arXiv:1607.06450), or over each head of `head_dim`."""
        return self._norm("layer_norm", x, weight, bias, eps, head_dim)

    def _norm(self, op: str, x: Value, weight: Weight | None, bias: Weight | None, eps: float, head_dim: int) -> Value:
        width = head_dim or x.width
        if x.width % width:
            self._fail(f"{op}: {x.width} is not whole heads of {head_dim}")
        shapes = ((width,),) if width == x.width else ((width,), (x.width // width, width))
        weights = self._flat(weight, *shapes) + self._flat(bias, *shapes)
        y = self._value(x.width, x.rows)
        attributes: dict[str, float] = {"eps": eps}
        if head_dim:
            attributes["head_dim"] = head_dim
        if weight is None:
            attributes["weight"] = 0
        if bias is not None:
            attributes["bias"] = 1
        self._step(op, (x,), (y,), weights, **attributes)
        return y

    def add(self, a: Value, b: Value) -> Value:
        """`a + b`."""
        self._same("add", a, b)
        y = self._value(a.width, a.rows)
        self._step("add", (a, b), (y,))
        return y

    def scale(self, x: Value, factor: float) -> Value:
        """`x * factor`; the value itself where that is 1."""
        if factor == 1:
            return x
        y = self._value(x.width, x.rows)
        self._step("scale", (x,), (y,), factor=factor)
        return y

    def softcap(self, x: Value, cap: float) -> Value:
        """`cap * tanh(x / cap)` (arXiv:2408.00118); the value itself where cap is 0."""
        if cap == 0:
            return x
        y = self._value(x.width, x.rows)
        self._step("softcap", (x,), (y,), cap=cap)
        return y

    def activation(self, x: Value, kind: Activation) -> Value:
        """The activation of each element. gelu is the exact one with erf, gelu_tanh its approximation (arXiv:1606.08415)."""
        y = self._value(x.width, x.rows)
        self._step("activation", (x,), (y,), kind=ACTIVATIONS.index(kind))
        return y

    def gated(self, gate: Value, up: Value, kind: Activation) -> Value:
        """`activation(gate) * up` (arXiv:2002.05202). `swiglu_oai`: both are clamped to 7 (gate from above only), and it is
        `gate * sigmoid(1.702 gate) * (up + 1)`."""
        self._same("gated", gate, up)
        y = self._value(gate.width, gate.rows)
        self._step("gated", (gate, up), (y,), kind=ACTIVATIONS.index(kind))
        return y

    def sigmoid_gate(self, x: Value, gate: Value) -> Value:
        """`x * sigmoid(gate)`, where the gate is one number a row."""
        if gate.width != 1 or gate.rows != x.rows:
            self._fail(f"sigmoid_gate: a gate {gate.width} wide, where 1 is needed")
        y = self._value(x.width, x.rows)
        self._step("sigmoid_gate", (x, gate), (y,))
        return y

    def slice(self, x: Value, first: int, width: int, n_heads: int = 1) -> Value:
        """Elements `first` to `first + width` of each of `n_heads` equal parts of a row."""
        if x.width % n_heads or first + width > x.width // n_heads:
            self._fail(f"slice: {first} to {first + width} of {n_heads} parts of {x.width}")
        y = self._value(n_heads * width, x.rows)
        self._step("slice", (x,), (y,), first=first, n_heads=n_heads, width=width)
        return y

    def join_heads(self, a: Value, b: Value, n_heads: int) -> Value:
        """Each head of a followed by the same head of b."""
        return self._join(a, b, n_heads, shared=False)

    def join_shared(self, a: Value, b: Value, n_heads: int) -> Value:
        """Each head of a followed by all of b."""
        return self._join(a, b, n_heads, shared=True)

    def _join(self, a: Value, b: Value, n_heads: int, shared: bool) -> Value:
        if a.width % n_heads or (not shared and b.width % n_heads) or a.rows != b.rows:
            self._fail(f"join_heads: {a.width} and {b.width} wide in {n_heads} heads")
        y = self._value(a.width + b.width * (n_heads if shared else 1), a.rows)
        self._step("join_heads", (a, b), (y,), n_heads=n_heads, shared=shared)
        return y
