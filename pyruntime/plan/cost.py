"""What a step of a plan reads and multiplies: what a measured time is divided by."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyruntime import _core

if TYPE_CHECKING:
    from pyruntime.plan.values import Plan, Rows, Step

_PAGE_TOKENS = 64
_TABLES = frozenset({"embedding", "position_embedding"})
_PRODUCTS = frozenset({"linear", "gated_ffn", "head_linear", "experts_linear", "experts_gated"})
_EXPERTS = frozenset({"experts_linear", "experts_gated"})
_ATTENTION = frozenset({"attention", "latent_attention"})


@dataclass(frozen=True, slots=True)
class StepCost:
    """Of the weights of one step of the plan: `bytes` that a token reads, `products` that are added up for each row of `rows`."""

    bytes: int
    products: int
    rows: Rows


@dataclass(slots=True)
class _Attention:
    """Of all layers with one window, for each position that a token looks back on."""

    products: int = 0
    bytes: float = 0.0


class Cost:
    """Of a model's file, as it is loaded: of a table of embeddings a token reads one row, of experts those that are chosen,
    and of the keys and values what its window holds.

    Operations are two for each multiplication that is added up: of products with matrices, of queries with keys, and of
    weights with values. What norms, activations and the rest compute is left out.

    steps: of each step of the plan, what its weights cost.
    """

    def __init__(self, file: _core.GGUF, plan: Plan, kv_type: str) -> None:
        self._file = file
        self._plan = plan
        self._flat = sorted(plan.flat)
        self._shapes = {tensor.name: tensor.shape for tensor in file.tensors}
        self.steps = [self._weights(step) for step in plan.steps]
        self._attention: dict[int, _Attention] = defaultdict(_Attention)  # by window, 0: none
        for step in plan.steps:
            if step.op in _ATTENTION:
                self._add_attention(step, kv_type)

    def bytes_of_token(self, position: int) -> int:
        """Bytes that a token at this position reads, of weights and of keys and values, its own among them."""
        kv = sum(layers.bytes * _seen(position, window) for window, layers in self._attention.items())
        return sum(step.bytes for step in self.steps) + round(kv)

    def operations(self, n: int) -> int:
        """Operations of reading the first n tokens of a sequence, with the logits of the last one."""
        products = sum(step.products * (n if step.rows == "tokens" else 1) for step in self.steps)
        for window, layers in self._attention.items():
            products += layers.products * sum(_seen(position, window) for position in range(n))
        return 2 * products

    def _weights(self, step: Step) -> StepCost:
        n_bytes = products = 0
        for name in step.weights:
            shape = self._shapes[name]
            used, of = 1, 1
            if step.op in _TABLES:
                of = shape[0]
            elif step.op in _EXPERTS:  # inputs: x, and for each expert that is used its id and its weight
                used, of = self._plan.values[step.inputs[1]].width // 2, shape[0]
            n_bytes += _core.loaded_bytes(self._file, [name], self._flat) * used // of
            if step.op in _PRODUCTS and name not in self._plan.flat:
                products += math.prod(shape) * used // of
        return StepCost(n_bytes, products, self._plan.values[step.outputs[0]].rows if step.outputs else "tokens")

    def _add_attention(self, step: Step, kv_type: str) -> None:
        cache = self._plan.caches[int(step.attributes["cache"])]
        layers = self._attention[int(step.attributes.get("window", 0))]
        layers.products += int(step.attributes["n_heads"]) * (cache.head_dim + cache.value_dim)
        layers.bytes += _core.kv_page_bytes([cache], kv_type) / _PAGE_TOKENS


def _seen(position: int, window: int) -> int:
    """How many positions a token looks back on, its own among them."""
    return min(position + 1, window or position + 1)
