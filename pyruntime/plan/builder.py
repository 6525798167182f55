"""Builds a plan out of named operations on symbolic values. docs/architecture.md has the table of operations.

An architecture file calls these methods once, when a model is loaded; the core then runs the flat list of steps. Only
the number of tokens and their positions vary from step to step, so a value has no number in it: `bool(x)` raises.
Shapes are checked here, and errors name the tensor: GGUFError for what does not fit, UnsupportedError for what no kernel does.
"""

from __future__ import annotations

from pyruntime.plan.operations.attention import AttentionOperations
from pyruntime.plan.operations.experts import Experts
from pyruntime.plan.operations.products import Products
from pyruntime.plan.values import Plan, Value
from pyruntime.plan.weights import Weight


class PlanBuilder(Products, AttentionOperations, Experts):
    """The operations; each returns the symbolic value of its result.

    fused=False takes fused operations apart, so that what they keep to themselves is a value; the bits are the same.
    """

    def __init__(self, path: str = "", fused: bool = True) -> None:
        super().__init__(path, fused)
        self._n_vocab = 0  # rows of the embedding's table

    def embedding(self, table: Weight) -> Value:
        """Rows of `table` (n_vocab, d_model) by token id."""
        self._n_vocab, d_model = self._matrix(table)
        y = self._value(d_model, "tokens")
        self._step("embedding", (), (y,), (table,))
        return y

    def position_embedding(self, table: Weight) -> Value:
        """Rows of `table` (positions, d_model) by the token's position: the context cannot be longer."""
        self._plan.max_context, d_model = self._matrix(table)
        y = self._value(d_model, "tokens")
        self._step("position_embedding", (), (y,), (table,))
        return y

    def outputs(self, x: Value) -> Value:
        """The rows of the positions whose logits are wanted: what follows is computed for these alone."""
        y = self._value(x.width, "outputs")
        self._step("gather_outputs", (x,), (y,))
        return y

    def leave_out(self, *weights: Weight | None) -> None:
        """Tensors of the file that the model does without, knowingly: a file with any other is refused."""
        self._plan.unused.update(weight.name for weight in weights if weight is not None)

    def finish(self, logits: Value) -> Plan:
        """The plan, whose result is `logits` (n_out, n_vocab). The core lets token ids up to n_vocab into the embedding."""
        if logits.width != self._n_vocab:
            head = next(step.weights[0] for step in reversed(self._plan.steps) if step.op == "linear")
            self._fail(f"tensor {head}: {logits.width} rows, but {self._n_vocab} tokens have an embedding")
        self._plan.logits = logits.id
        self._names.finish(logits.id)
        self._plan.names = self._names.ids
        return self._plan
