"""Where the time of reading a prompt and of writing goes: by operation, by the types of its weights, and beside the plan."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from pyruntime import _core
from pyruntime.generate import Request, run
from pyruntime.plan.cost import Cost
from pyruntime.prompts import new_job
from pyruntime.sampling import Sampling
from pyruntime.session import Ids

if TYPE_CHECKING:
    from pyruntime.model import Model
    from pyruntime.plan.values import Plan, Step

_HEADS = frozenset({"output.weight", "token_embd.weight"})
_CHECK = ("check of the logits", "")  # a step's last work, after the plan's


@dataclass(slots=True)
class Operation:
    """Steps of the plan of one kind, `steps` of them.

    name: the operation, of products with the tensors, such as `linear attn_q,k,v`; the product with the vocabulary is `head`.
    weights: the types of the product's tensors. seconds: what the threads were busy, divided by their number: these add up to the
    time that passed. waiting: the same of the barriers behind the steps. work: of products, the bytes of weights that writing
    read, or the operations of reading; else 0.
    """

    name: str
    weights: str
    steps: int = 0
    seconds: float = 0.0
    waiting: float = 0.0
    work: int = 0

    @property
    def rate(self) -> float:
        """Bytes or operations a second while the threads were busy."""
        return self.work / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Part:
    """Of reading a prompt, or of writing: `tokens` of it in so many `seconds`, which are the sum of all others.

    operations: the longest first. starting: until all threads have begun a step, and ended it. sampling: of the core beside that,
    the call itself included. python: outside the core.
    """

    tokens: int
    seconds: float
    operations: list[Operation] = field(repr=False)
    starting: float
    sampling: float
    python: float

    @property
    def waiting(self) -> float:
        """At barriers."""
        return sum(operation.waiting for operation in self.operations)


@dataclass(frozen=True, slots=True)
class Profile:
    prefill: Part
    generate: Part

    def or_faster(self, other: Profile) -> Profile:
        """Of two profiles the faster reading and the faster writing: what disturbs one only ever makes it slower."""
        parts = ((self.prefill, other.prefill), (self.generate, other.generate))
        return Profile(*(min(pair, key=lambda part: part.seconds) for pair in parts))


def profile(model: Model, cost: Cost, ids: Ids, generate: int) -> Profile:
    """Reads a prompt and writes `generate` tokens greedily, as `Model.generate` does, with the core's profile switched on. The
    first token is drawn as the prompt ends, and is part of reading it."""
    engine = _Timed(model.engine)
    kinds = _kinds(model, cost)
    never_ends = dict.fromkeys(model.tokenizer.end_ids, float("-inf"))
    request = Request(Sampling(temperature=0, logit_bias=never_ends), generate + 1)
    with model.session() as session:
        drawn = run(cast("_core.Engine", engine), [new_job(model, session, ids, request, 0)])

        def part(tokens: int, work: list[int], write: Callable[[], object]) -> Part:
            engine.seconds = 0.0
            model.engine.start_profile()
            try:
                start = time.perf_counter()
                write()
                elapsed = time.perf_counter() - start
            finally:
                found = model.engine.stop_profile()
            operations = _operations(kinds, work, found)
            inside = sum(operation.seconds + operation.waiting for operation in operations)
            return Part(
                tokens,
                elapsed,
                operations,
                starting=found["elapsed"] - inside,
                sampling=engine.seconds - found["elapsed"],
                python=elapsed - engine.seconds,
            )

        read = [2 * step.products * (len(ids) if step.rows == "tokens" else 1) for step in cost.steps]
        written = [step.bytes * generate if step.products else 0 for step in cost.steps]
        prefill = part(len(ids), read, lambda: next(drawn))
        return Profile(prefill, part(generate, written, lambda: sum(1 for _ in drawn)))


class _Timed:
    """An engine that adds up the time of its calls."""

    def __init__(self, engine: _core.Engine) -> None:
        self._engine = engine
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._engine, name)
        if not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return value(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - start

        self.__dict__[name] = call  # found at once the next time
        return call


def _operations(kinds: list[tuple[str, str]], work: list[int], found: _core.Profile) -> list[Operation]:
    operations: dict[tuple[str, str], Operation] = {}
    threads = len(found["busy"])
    for i, kind in enumerate([*kinds, _CHECK]):
        operation = operations.setdefault(kind, Operation(*kind))
        operation.steps += 1
        operation.seconds += sum(thread[i] for thread in found["busy"]) / threads
        operation.waiting += sum(thread[i] for thread in found["waiting"]) / threads
        operation.work += work[i] if i < len(work) else 0
    return sorted(operations.values(), key=lambda operation: -operation.seconds)


def _kinds(model: Model, cost: Cost) -> list[tuple[str, str]]:
    """Name and types of weights of each step of the plan."""
    with _core.GGUF(model.path) as file:
        types = {tensor.name: tensor.type_name for tensor in file.tensors}
    steps = zip(model.plan.steps, cost.steps, strict=True)
    return [_product(step, model.plan, types) if of.products else (step.op, "") for step, of in steps]


def _product(step: Step, plan: Plan, types: dict[str, str]) -> tuple[str, str]:
    matrices = [name for name in step.weights if name not in plan.flat]
    of = ", ".join(dict.fromkeys(types[name] for name in matrices))
    if step.op == "linear" and matrices[0] in _HEADS:
        return "head", of
    names = [re.sub(r"^blk\.\d+\.|\.weight$", "", name) for name in matrices]
    shared = names[0].partition("_")[0] + "_"  # attn_q, attn_k and attn_v are attn_q,k,v
    return f"{step.op} {','.join([names[0], *(name.removeprefix(shared) for name in names[1:])])}", of
