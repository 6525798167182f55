"""Products with weights, and what is fused with them."""

from __future__ import annotations

from collections.abc import Sequence

from pyruntime.errors import UnsupportedError
from pyruntime.plan.operations.rows import ACTIVATIONS, Activation, RowOperations
from pyruntime.plan.values import Value
from pyruntime.plan.weights import Weight


class Products(RowOperations):
    def linear(self, x: Value, weight: Weight, bias: Weight | None = None, residual: Value | None = None) -> Value:
        """`x @ weight.T`, plus the bias, plus the residual: where given, in this order."""
        rows = self._rows(weight, x)
        if residual is not None and residual.width != rows:
            self._fail(f"tensor {weight.name}: shape {weight.shape} where ({residual.width}, {x.width}) is needed")
        if residual is not None and not self._fused:
            return self.add(residual, self.linear(x, weight, bias))
        y = self._value(rows, x.rows)
        inputs = (self._operand(x, weight), *((residual,) if residual is not None else ()))
        self._step("linear", inputs, (y,), (weight, *self._flat(bias, (y.width,))), **_flag("bias", bias))
        return y

    def linear_many(
        self, x: Value, weights: Sequence[Weight], biases: Sequence[Weight | None] | None = None
    ) -> list[Value]:
        """Several products of one input, in one pass over the threads."""
        results = [self._value(self._rows(w, x), x.rows) for w in weights]
        given = [None] * len(weights) if biases is None else list(biases)
        for kind in ((True, True), (True, False), (False, True), (False, False)):  # each kind takes a pass of its own
            chosen = [
                (w, y, bias)
                for w, y, bias in zip(weights, results, given, strict=True)
                if (w.quantized, bias is not None) == kind
            ]
            if chosen:
                matrices, outputs, vectors = zip(*chosen, strict=True)
                flat = [self._flat(bias, (y.width,)) for bias, y in zip(vectors, outputs, strict=True)]
                operand = self._operand(x, matrices[0])
                step_weights = (*matrices, *(w for weight in flat for w in weight))
                self._step("linear", (operand,), outputs, step_weights, **_flag("bias", vectors[0]))
        return results

    def gated_ffn(self, x: Value, gate: Weight, up: Weight, activation: Activation = "silu") -> Value:
        """`activation(x @ gate.T) * (x @ up.T)` (arXiv:2002.05202)."""
        if gate.quantized != up.quantized:
            raise UnsupportedError(
                f"{self._file}tensors {gate.name} ({gate.type}) and {up.name} ({up.type}) mix float and quantized"
            )
        if gate.shape != up.shape:
            self._fail(f"tensor {up.name}: shape {up.shape} differs from {gate.name}'s {gate.shape}")
        if not self._fused:
            gate_product, up_product = self.linear_many(x, [gate, up])
            return self.gated(gate_product, up_product, activation)
        y = self._value(self._rows(gate, x), x.rows)
        kind = {} if activation == "silu" else {"activation": float(ACTIVATIONS.index(activation))}
        self._step("gated_ffn", (self._operand(x, gate),), (y,), (gate, up), **kind)
        return y

    def head_linear(self, x: Value, weight: Weight) -> Value:
        """Of each head h of x: `x[h] @ weight[h].T`. weight: (n_heads, rows, cols)."""
        if len(weight.shape) != 3 or x.width != weight.shape[0] * weight.shape[2]:
            self._fail(f"tensor {weight.name}: shape {weight.shape}, which does not fit {x.width} columns in heads")
        n_heads, rows, cols = weight.shape
        y = self._value(n_heads * rows, x.rows)
        self._step("head_linear", (self._operand(x, weight, cols),), (y,), (weight,))
        return y

    def _rows(self, weight: Weight, x: Value) -> int:
        rows, cols = self._matrix(weight)
        if cols != x.width:
            self._fail(f"tensor {weight.name}: shape {weight.shape} where (any, {x.width}) is needed")
        return rows


def _flag(name: str, weight: Weight | None) -> dict[str, float]:
    return {} if weight is None else {name: 1}
