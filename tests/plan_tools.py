"""Small plans on random weights, run by the core in every way it can and by the NumPy interpreter.

case = make(tmp_path, lambda kit: kit.b.rms_norm(kit.input(45), kit.weight(45), 1e-6))
logits = case.same_in_every_way()  # on each instruction set, number of threads, size of steps
case.expected()                    # in float64
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tiny_models import BLOCK, write

from pyruntime import _core
from pyruntime.plan import Plan, PlanBuilder, Value, Weight
from pyruntime.plan.numpy_operations import State
from pyruntime.plan.reference import ReferenceInterpreter

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

ISAS = _core.available_isas()
LENGTH = 70  # tokens: over a KV page of 64
CONTEXT = 512


class Kit:
    """What a plan is made of: the builder `b`, weights and inputs with random values."""

    def __init__(self, n_vocab: int, seed: int) -> None:
        self.b = PlanBuilder("tiny.gguf")
        self.arrays: dict[str, Float32] = {}
        self.types: dict[str, str] = {}
        self._n_vocab = n_vocab
        self._rng = np.random.default_rng(seed)

    def weight(self, *shape: int, type_: str = "F32", values: ArrayLike | None = None) -> Weight:
        """A tensor, of these values or of random ones: rows of products near size 1, blocks of 32 of different scale."""
        name = f"tensor_{len(self.arrays)}.weight"
        if values is None:
            values = self._rng.standard_normal(shape) * 2.0 ** self._rng.uniform(-1, 1, (*shape[:-1], 1))
            values = values + self._rng.uniform(-0.3, 0.3, (*shape[:-1], 1))
            values = values / np.sqrt(shape[-1]) if len(shape) > 1 else values
        self.arrays[name] = np.asarray(values, np.float32).reshape(shape)
        self.types[name] = type_
        return Weight(name, type_, shape)

    def input(self, width: int, values: ArrayLike | None = None) -> Value:
        """Rows of `width` by token: random ones, some a hundred times as large as others; or the values, cut into rows."""
        if values is None:
            values = self._rng.standard_normal((self._n_vocab, width)) * 10 ** self._rng.uniform(
                -1, 1, (self._n_vocab, 1)
            )
        table = np.resize(np.asarray(values, np.float32), (self._n_vocab, width))
        return self.b.embedding(self.weight(self._n_vocab, width, values=table))


@dataclass
class Case:
    """A plan, the file of its weights, and a text."""

    path: Path
    plan: Plan
    ids: NDArray[np.int32]

    def core(
        self, isa: str = "", threads: int = 1, chunk: int = LENGTH, *, kv_type: str = "f32", context: int = CONTEXT
    ) -> Float32:
        """The result for each token, (n, width): in steps of `chunk`."""
        engine = _core.Engine(
            _core.GGUF(self.path),
            self.plan.weight_names,
            self.plan.for_core(),
            context=context,
            max_tokens=max(chunk, LENGTH),
            n_threads=threads,
            kv_type=kv_type,
            kv_max_bytes=1 << 26,
            isa=isa,
        )
        assert isa in ("", engine.isa)
        sequence = engine.sequence()
        steps = [engine.step([(sequence, self.ids[at : at + chunk], 2)]) for at in range(0, len(self.ids), chunk)]
        return np.concatenate(steps)

    def same_in_every_way(self, **options: Any) -> Float32:
        """The result, whose bits every instruction set, number of threads and size of steps must share."""
        result = self.core(ISAS[0], 1, **options)
        ways = {(isa, threads, chunk) for isa in ISAS for threads, chunk in ((1, LENGTH), (2, 7), (3, LENGTH), (2, 3))}
        for isa, threads, chunk in sorted(ways):
            other = self.core(isa, threads, chunk, **options)
            assert other.tobytes() == result.tobytes(), (isa, threads, chunk)
        return result

    @cached_property
    def interpreter(self) -> ReferenceInterpreter:
        return ReferenceInterpreter(self.plan, _core.GGUF(self.path).dequantize)

    def expected(self) -> Float64:
        """The same by the interpreter."""
        return self.interpreter.run(self.ids)


def make(folder: Path, body: Callable[[Kit], Value], seed: int = 0) -> Case:
    """`body` builds the plan's result, of all tokens or of the outputs. It is called twice: the first time shows how wide the
    result is, and as many tokens there are then."""
    width = body(Kit(1, seed)).width
    kit = Kit(width, seed)
    result = body(kit)
    plan = kit.b.finish(kit.b.outputs(result) if result.rows == "tokens" else result)
    path = write(folder / "tiny.gguf", kit.arrays, {}, kit.types)
    return Case(path, plan, np.random.default_rng(seed).integers(0, width, LENGTH).astype(np.int32))


def worst(got: NDArray[Any], expected: Float64) -> float:
    """The largest error of an element, over the root mean square of its row."""
    size = np.sqrt(np.mean(expected**2, axis=1, keepdims=True))
    return float(np.max(np.abs(got - expected) / np.where(size == 0, 1, size)))


def int8_rounding(_: State, w: tuple[Any, ...], x: Float64) -> Float64:
    """What `quantize` does to activations (docs/numerics.md), as the numbers that the results stand for."""
    blocks = x.astype(np.float32).reshape(-1, BLOCK)
    largest = np.abs(blocks).max(axis=1, keepdims=True)
    q = np.rint(blocks * (np.float32(127) / np.where(largest > 0, largest, 1)))  # a block may be all zeros
    return (q.astype(np.float64) * (largest / np.float32(127))).reshape(x.shape)
