"""What a plan is made of: symbolic values, steps, and the finished plan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, NoReturn

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
    """One operation: ids of its input and output values, names of its weights, its attributes, and the line that made it.

    An optional weight that is there is announced by an attribute of 1 (`bias`, `sinks`, ...).
    """

    op: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    weights: tuple[str, ...]
    attributes: dict[str, float]
    where: str


class Cache(NamedTuple):
    """What an attention layer keeps of a position: keys and values of each kv head. `latent`: one row of `head_dim`, whose
    first `value_dim` elements are the value as well (multi-head latent attention)."""

    n_kv_heads: int
    head_dim: int
    value_dim: int
    latent: bool = False


@dataclass(slots=True)
class Plan:
    """A finished plan.

    logits: id of the result. names: ids of values by name (operations/naming.py). flat: weights that are read as one row
    of float32, whatever their shape. unused: those that the architecture leaves out on purpose. max_context: how many
    positions have embeddings, in a model that learned them.
    """

    values: list[Value] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    caches: list[Cache] = field(default_factory=list)
    flat: set[str] = field(default_factory=set)
    unused: set[str] = field(default_factory=set)
    names: dict[str, int] = field(default_factory=dict)
    logits: int = -1
    max_context: int | None = None

    @property
    def weight_names(self) -> list[str]:
        """Every weight that a step uses, in the order of first use."""
        return list(dict.fromkeys(name for step in self.steps for name in step.weights))

    def for_core(self) -> dict[str, Any]:
        """What `_core.Engine` takes."""
        return {
            "values": [(v.quantized, v.rows == "outputs", v.width) for v in self.values],
            "steps": [(s.op, s.inputs, s.outputs, s.weights, s.attributes, s.where) for s in self.steps],
            "caches": [tuple(c) for c in self.caches],
            "flat": sorted(self.flat),
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
