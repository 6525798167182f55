"""What all builder methods stand on: new values and steps, and checks that name the tensor."""

from __future__ import annotations

import sys
from pathlib import Path, PurePath
from typing import NoReturn

from pyruntime.errors import GGUFError, UnsupportedError
from pyruntime.plan.operations.naming import Names
from pyruntime.plan.values import Plan, Rows, Step, Value
from pyruntime.plan.weights import QUANTIZED_BLOCK, Weight

_PLAN_FOLDER = str(Path(__file__).parent.parent)  # steps are the architecture's, not the builder's


class Base:
    def __init__(self, path: str = "", fused: bool = True) -> None:
        self._file = f"{path}: " if path else ""  # of every error
        self._fused = fused
        self._plan = Plan()
        self._names = Names()
        self._quantized: dict[int, Value] = {}  # of each value, so that products of one input share it

    def _fail(self, what: str) -> NoReturn:
        raise GGUFError(f"{self._file}{what}")

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
        while frame.f_code.co_filename.startswith(_PLAN_FOLDER) and frame.f_back is not None:
            frame = frame.f_back
        where = f"{PurePath(frame.f_code.co_filename).name}:{frame.f_lineno}"
        step = Step(
            op,
            tuple(v.id for v in inputs),
            tuple(v.id for v in outputs),
            tuple(w.name for w in weights),
            {name: float(value) for name, value in attributes.items()},
            where,
        )
        self._plan.steps.append(step)
        self._names.add(step.op, step.inputs, step.outputs, step.weights)

    def _flat(self, weight: Weight | None, *shapes: tuple[int, ...]) -> tuple[Weight, ...]:
        """A vector, or a small matrix that is read as one; of one of these shapes. None gives nothing."""
        if weight is None:
            return ()
        if weight.shape not in shapes:
            self._fail(f"tensor {weight.name}: shape {weight.shape} where {' or '.join(map(str, shapes))} is needed")
        self._plan.flat.add(weight.name)
        return (weight,)

    def _matrix(self, weight: Weight) -> tuple[int, int]:
        if len(weight.shape) != 2:
            self._fail(f"tensor {weight.name}: shape {weight.shape}, a matrix is needed")
        return weight.shape[0], weight.shape[1]

    def _operand(self, x: Value, weight: Weight, cols: int | None = None) -> Value:
        """x as the weight's product takes it: quantized for a quantized weight. Rows of `cols` are whole blocks."""
        if not weight.quantized:
            return x
        if (cols or x.width) % QUANTIZED_BLOCK:
            raise UnsupportedError(
                f"{self._file}tensor {weight.name}: {cols or x.width} columns are not whole blocks of {QUANTIZED_BLOCK}"
            )
        if x.id not in self._quantized:
            self._quantized[x.id] = y = self._value(x.width, x.rows, quantized=True)
            self._step("quantize", (x,), (y,))
        return self._quantized[x.id]

    def _same(self, op: str, a: Value, b: Value) -> None:
        if (a.width, a.rows) != (b.width, b.rows):
            self._fail(f"{op}: {a.width} and {b.width} wide, of {a.rows} and {b.rows}")
