"""The plan in NumPy: what each operation means, in float64, from dequantized weights.

This is the oracle that the core is tested against, and the page to read to see what a model computes. It shares nothing
with the core but the plan: no packing, no quantized activations, no KV pages, no blocks. `numpy_operations.py` has the
operations.

    reference = from_gguf("model.gguf")
    logits = reference.run([1, 15, 4])  # (3, n_vocab)
    print(reference.plan.dump())        # %7 in there is reference.values[7]
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pyruntime.plan.numpy_operations import OPERATIONS, Array, State
from pyruntime.plan.values import Plan, Step

Stored = NDArray[np.floating[Any]]  # weights may come in another dtype


class ReferenceInterpreter:
    """Runs a plan on whole sequences.

    weights: float arrays by the names in the plan, or a function that gives them; looked up anew at every use, so that a
    large model need not be in memory as float64. Of the last run `values` keeps everything: keep the text short.
    """

    def __init__(
        self, plan: Plan, weights: Mapping[str, Stored] | Callable[[str], Stored], dtype: DTypeLike = np.float64
    ) -> None:
        self.plan = plan
        self.values: dict[int, Array] = {}  # of the last run: every value by its id, (n or n_out, width)
        self._weight: Callable[[str], Stored] = weights if callable(weights) else weights.__getitem__
        self._dtype = dtype

    def run(
        self,
        ids: Sequence[int] | NDArray[np.integer[Any]],
        positions: Sequence[int] | None = None,
        outputs: Literal["all", "last"] | Sequence[int] = "all",
    ) -> Array:
        """The logits (n_out, n_vocab) of a sequence.

        positions: of each token; default 0, 1, 2, ...
        outputs: the tokens whose logits are wanted: all, the last, or their indices.
        """
        n = len(ids)
        chosen = {"all": range(n), "last": range(n - 1, n)}[outputs] if isinstance(outputs, str) else outputs
        state = State(
            ids=np.asarray(ids, np.int64),
            positions=np.asarray(range(n) if positions is None else positions, np.int64),
            outputs=np.asarray(chosen, np.int64),
            caches=self.plan.caches,
            dtype=self._dtype,
        )
        self.values = {}
        for step in self.plan.steps:
            self.values.update(zip(step.outputs, self._run(step, state), strict=True))
        return self.values[self.plan.logits]

    def _run(self, step: Step, state: State) -> list[Array]:
        w = tuple(np.asarray(self._weight(name), self._dtype) for name in step.weights)
        inputs = [self.values[i] for i in step.inputs]
        result = OPERATIONS[step.op](state, w, *inputs, **step.attributes)
        return result if isinstance(result, list) else [result]


def from_gguf(path: str | os.PathLike[str], dtype: DTypeLike = np.float64) -> ReferenceInterpreter:
    """The interpreter of a model file. GGUFError, UnsupportedError as for `Model`."""
    from pyruntime import _core, arch  # layers beside and above: the interpreter itself needs neither

    file = _core.GGUF(os.fspath(path))  # stays open: weights are read when they are used
    return ReferenceInterpreter(arch.blueprint(file).plan, file.dequantize, dtype)
