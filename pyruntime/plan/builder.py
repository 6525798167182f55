"""Builds a plan out of named operations on symbolic values. docs/architecture.md has the table of operations.

An architecture file calls these methods once, when a model is loaded; the core then runs the flat list of steps. Only
the number of tokens and their positions vary from step to step, so a value has no number in it: `bool(x)` raises.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal, NoReturn

from pyruntime.errors import GGUFError, UnsupportedError
from pyruntime.plan.weights import QUANTIZED_BLOCK, Weight

Rows = Literal["tokens", "outputs"]


@dataclass(frozen=True, slots=True)
class Value:
    """Rows of `width` float32 (or their quantized form): one a token, or one for each position whose logits are wanted."""

    id: int
    width: int
    rows: Rows
    quantized: bool = False

    def _no_number(self) -> NoReturn:
        raise TypeError("a value of a plan is symbolic: it has no number while the plan is built")

    def __bool__(self) -> bool:  # noqa: PLE0304 (it never returns)
        self._no_number()

    def __float__(self) -> float:
        self._no_number()


@dataclass(frozen=True, slots=True)
class Step:
    """One operation: ids of its input and output values, names of its weights, its attributes, and the line that made it."""

    op: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    weights: tuple[str, ...]
    attributes: dict[str, float]
    where: str


@dataclass(slots=True)
class Plan:
    """A finished plan. `caches` are (n_kv_heads, head_dim) of each attention layer; `logits` is the id of the result."""

    values: list[Value] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    caches: list[tuple[int, int]] = field(default_factory=list)
    logits: int = -1

    @property
    def weight_names(self) -> list[str]:
        """Every weight that a step uses, in the order of first use."""
        return list(dict.fromkeys(name for step in self.steps for name in step.weights))

    def for_core(self) -> dict[str, Any]:
        """What `_core.Engine` takes."""
        return {
            "values": [(v.quantized, v.rows == "outputs", v.width) for v in self.values],
            "steps": [(s.op, s.inputs, s.outputs, s.weights, s.attributes, s.where) for s in self.steps],
            "caches": self.caches,
            "logits": self.logits,
        }

    def dump(self) -> str:
        """The plan as text, a line a step."""
        lines = []
        for step in self.steps:
            outputs = ", ".join(self._name(i) for i in step.outputs)
            operands = [self._name(i) for i in step.inputs] + list(step.weights)
            attributes = [f"{k}={v:g}" for k, v in step.attributes.items()]
            arrow = f"{outputs} = " if outputs else ""
            lines.append(f"{arrow}{step.op}({', '.join(operands + attributes)})  # {step.where}")
        return "\n".join(lines)

    def _name(self, value_id: int) -> str:
        v = self.values[value_id]
        return f"%{v.id}:{'q8' if v.quantized else 'f32'}[{'n' if v.rows == 'tokens' else 'n_out'}, {v.width}]"


class PlanBuilder:
    """The operations. Each returns the symbolic value of its result; shapes are checked here, with the tensor's name."""

    def __init__(self, path: str = "") -> None:
        self._file = f"{path}: " if path else ""  # of every error
        self._plan = Plan()
        self._quantized: dict[int, Value] = {}  # of each value, so that products of one input share it
        self._n_vocab = 0  # rows of the embedding's table

    def embedding(self, table: Weight) -> Value:
        """Rows of `table` (n_vocab, d_model) by token id."""
        self._n_vocab, d_model = self._matrix(table)
        y = self._value(d_model, "tokens")
        self._step("embedding", (), (y,), (table,))
        return y

    def rms_norm(self, x: Value, weight: Weight, eps: float) -> Value:
        """`x / sqrt(mean(x^2) + eps) * weight` over each row (arXiv:1910.07467)."""
        if weight.shape != (x.width,):
            raise GGUFError(f"{self._file}tensor {weight.name}: shape {weight.shape} where ({x.width},) is needed")
        y = self._value(x.width, x.rows)
        self._step("rms_norm", (x,), (y,), (weight,), eps=eps)
        return y

    def add(self, a: Value, b: Value) -> Value:
        """`a + b`."""
        if (a.width, a.rows) != (b.width, b.rows):
            raise GGUFError(f"{self._file}add: {a.width} and {b.width} wide, of {a.rows} and {b.rows}")
        y = self._value(a.width, a.rows)
        self._step("add", (a, b), (y,))
        return y

    def linear(self, x: Value, weight: Weight, residual: Value | None = None) -> Value:
        """`x @ weight.T`, and `residual +` that where a residual is given."""
        y = self._value(self._rows(weight, x), x.rows)
        if residual is not None and residual.width != y.width:
            raise GGUFError(
                f"{self._file}tensor {weight.name}: shape {weight.shape} where ({residual.width}, {x.width}) is needed"
            )
        inputs = (self._operand(x, weight),) + ((residual,) if residual is not None else ())
        self._step("linear", inputs, (y,), (weight,))
        return y

    def linear_many(self, x: Value, weights: Sequence[Weight]) -> list[Value]:
        """Several products of one input, in one pass over the threads."""
        results = [self._value(self._rows(w, x), x.rows) for w in weights]
        for quantized in (True, False):  # weights of both kinds take two passes
            chosen = [(w, y) for w, y in zip(weights, results, strict=True) if w.quantized == quantized]
            if chosen:
                operand = self._operand(x, chosen[0][0])
                self._step("linear", (operand,), tuple(y for _, y in chosen), tuple(w for w, _ in chosen))
        return results

    def gated_ffn(self, x: Value, gate: Weight, up: Weight) -> Value:
        """`silu(x @ gate.T) * (x @ up.T)` (arXiv:2002.05202)."""
        if gate.quantized != up.quantized:
            raise UnsupportedError(
                f"{self._file}tensors {gate.name} ({gate.type}) and {up.name} ({up.type}) mix float and quantized"
            )
        if gate.shape != up.shape:
            raise GGUFError(f"{self._file}tensor {up.name}: shape {up.shape} differs from {gate.name}'s {gate.shape}")
        y = self._value(self._rows(gate, x), x.rows)
        self._step("gated_ffn", (self._operand(x, gate),), (y,), (gate, up))
        return y

    def rope_table(self, n_rot: int, theta: float) -> Value:
        """Cosines and sines of each token's position, for `rope` (arXiv:2104.09864)."""
        if n_rot % 2 or not 1 <= theta <= 1e300:
            raise GGUFError(
                f"{self._file}rope: {n_rot} dimensions with base {theta:g}; an even number and 1 to 1e300 are needed"
            )
        y = self._value(n_rot, "tokens")
        self._step("rope_table", (), (y,), n_rot=n_rot, theta=theta)
        return y

    def rope(self, x: Value, table: Value, head_dim: int, mode: Literal["norm", "neox"]) -> Value:
        """Rotates the first n_rot elements of each head: pairs (2i, 2i + 1) in mode norm, (i, i + n_rot / 2) in mode neox."""
        if x.width % head_dim or table.width > head_dim:
            raise GGUFError(f"{self._file}rope: {table.width} of {x.width} dimensions do not fit heads of {head_dim}")
        y = self._value(x.width, x.rows)
        self._step("rope", (x, table), (y,), head_dim=head_dim, neox=mode == "neox")
        return y

    def attention(
        self, q: Value, k: Value, v: Value, n_heads: int, n_kv_heads: int, scale: float, window: int = 0
    ) -> Value:
        """Stores k and v in the cache and attends causally over all of the sequence, or its last `window` positions."""
        head_dim = q.width // n_heads
        if (q.width, k.width, v.width) != (n_heads * head_dim, n_kv_heads * head_dim, n_kv_heads * head_dim):
            raise GGUFError(
                f"{self._file}attention: q, k and v are {q.width}, {k.width} and {v.width} wide, which does not fit "
                f"{n_heads} heads and {n_kv_heads} of keys and values"
            )
        cache = len(self._plan.caches)
        self._plan.caches.append((n_kv_heads, head_dim))
        self._step("kv_store", (k, v), (), cache=cache)
        y = self._value(q.width, q.rows)
        self._step("attention", (q,), (y,), cache=cache, n_heads=n_heads, scale=scale, window=window)
        return y

    def outputs(self, x: Value) -> Value:
        """The rows of the positions whose logits are wanted: what follows is computed for these alone."""
        y = self._value(x.width, "outputs")
        self._step("gather_outputs", (x,), (y,))
        return y

    def finish(self, logits: Value) -> Plan:
        """The plan, whose result is `logits` (n_out, n_vocab). The core lets token ids up to n_vocab into the embedding."""
        if logits.width != self._n_vocab:
            head = self._plan.steps[-1].weights[-1]
            raise GGUFError(
                f"{self._file}tensor {head}: {logits.width} rows, but {self._n_vocab} tokens have an embedding"
            )
        self._plan.logits = logits.id
        return self._plan

    def _operand(self, x: Value, weight: Weight) -> Value:
        """x as the weight's product takes it: quantized for a quantized weight."""
        if not weight.quantized:
            return x
        if x.width % QUANTIZED_BLOCK:
            raise UnsupportedError(
                f"{self._file}tensor {weight.name}: {x.width} columns are not whole blocks of {QUANTIZED_BLOCK}"
            )
        if x.id not in self._quantized:
            self._quantized[x.id] = y = self._value(x.width, x.rows, quantized=True)
            self._step("quantize", (x,), (y,))
        return self._quantized[x.id]

    def _matrix(self, weight: Weight) -> tuple[int, int]:
        if len(weight.shape) != 2:
            raise GGUFError(f"{self._file}tensor {weight.name}: shape {weight.shape}, a matrix is needed")
        return weight.shape[0], weight.shape[1]

    def _rows(self, weight: Weight, x: Value) -> int:
        rows, cols = self._matrix(weight)
        if cols != x.width:
            raise GGUFError(f"{self._file}tensor {weight.name}: shape {weight.shape} where (any, {x.width}) is needed")
        return rows

    def _value(self, width: int, rows: Rows, quantized: bool = False) -> Value:
        value = Value(len(self._plan.values), width, rows, quantized)
        self._plan.values.append(value)
        return value

    def _step(
        self,
        op: str,
        inputs: tuple[Value, ...],
        outputs: tuple[Value, ...],
        weights: tuple[Weight, ...] = (),
        **attributes: float,
    ) -> None:
        frame = sys._getframe(1)
        while frame.f_code.co_filename == __file__ and frame.f_back is not None:
            frame = frame.f_back
        where = f"{PurePath(frame.f_code.co_filename).name}:{frame.f_lineno}"
        self._plan.steps.append(
            Step(
                op,
                tuple(v.id for v in inputs),
                tuple(v.id for v in outputs),
                tuple(w.name for w in weights),
                {name: float(value) for name, value in attributes.items()},
                where,
            )
        )
