"""What a model will take of memory, told before anything is allocated, and how much of it a context may have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pyruntime import _core
from pyruntime.errors import ContextError, MemoryLimitError, printable
from pyruntime.memory import available_memory, resident_memory
from pyruntime.speculation import MOST_GUESSES

if TYPE_CHECKING:
    from pyruntime.plan import Plan

MAX_CONTEXT = 1 << 20  # rope's argument reduction is exact up to there (docs/numerics.md)
MAX_TOKENS = 512  # of a step: enough to keep the multipliers busy, few enough to answer Ctrl-C
PAGE_TOKENS = 64  # the KV cache grows by pages
_COMFORTABLE = 0.75  # of what weights leave: a default context takes no more
_SHORTEST = 512  # positions of a default context, rather than a comfortable one that nothing fits into

# Measured on SmolLM2, Qwen2.5 and Gemma 3 once they have encoded a text: a token's share of what the tokenizer holds, with
# its merge where the kind has them.
_TOKENIZER_BYTES = {"gpt2": 60, "gemma4": 60, "llama": 175}
_SAMPLER_BYTES = 24  # of a token: its logit, id, weight and rank
_GUESSES_BYTES = 4 * MOST_GUESSES  # of a token: its logits after each guess
_FIRST_USE_BYTES = 13 << 20  # modules of tokenizers and templates, and what a first conversation allocates once


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes. `predicted` is the peak of the whole process (its resident set) once it has filled `context` positions."""

    context: int
    weights: int  # packed for the kernels
    page: int  # of the KV cache: 64 positions; 0 in a model without attention
    activations: int  # the values of a step, the threads' scratch, and attention's partial results
    vocabulary: int  # tokenizer, sampler and templates
    process: int  # what was resident before: Python, its modules, the file's metadata
    limit: int | None  # of `predicted`: `ram`, or what the system and the cgroup have left; None if that is unknown
    limited_by: str
    partials: int = 0  # of the activations, for each page of the context

    @property
    def pages(self) -> int:
        """Of one full context."""
        return -(-self.context // PAGE_TOKENS)

    @property
    def kv(self) -> int:
        """Bytes of the KV cache of one full context."""
        return self.pages * self.page

    @property
    def predicted(self) -> int:
        return self.fixed + self.kv

    @property
    def fixed(self) -> int:
        """What every context takes."""
        return self.process + self.weights + self.activations + self.vocabulary

    @property
    def kv_limit(self) -> int:
        """Bytes that the KV caches of all sessions may take together."""
        return (1 << 62) if self.limit is None else max(0, self.limit - self.fixed)

    @property
    def largest_context(self) -> int:
        """Positions, whole pages of them; 0 if the model does not fit."""
        return self.largest_within(self.room)

    @property
    def room(self) -> int:
        """Bytes left for what grows with the context."""
        return self.kv_limit if self.limit is None else max(0, self.limit - self.fixed + self.pages * self.partials)

    def largest_within(self, n_bytes: int) -> int:
        """Positions that take no more, whole pages of them."""
        return min(n_bytes // max(1, self.page + self.partials) * PAGE_TOKENS, MAX_CONTEXT)

    def with_context(self, context: int) -> MemoryPlan:
        """The same with so many positions."""
        changed = replace(self, context=context)
        return replace(changed, activations=self.activations + (changed.pages - self.pages) * self.partials)


def memory_needs(
    file: _core.GGUF, plan: Plan, context: int, *, threads: int, kv_type: str, ram: int | None = None
) -> MemoryPlan:
    """What a model with `context` positions takes, whether it fits or not. ram: bytes that the process may take in all."""
    available, process = available_memory(), resident_memory()
    limit = None if available is None else available + process
    limited_by = "the system leaves"
    if ram is not None and (limit is None or ram < limit):
        limit, limited_by = ram, "ram allows"
    steps = plan.for_core()
    without, with_one = (_core.activation_bytes(steps, MAX_TOKENS, threads, n) for n in (0, PAGE_TOKENS))
    empty = MemoryPlan(
        0,
        weights=_core.loaded_bytes(file, plan.weight_names, sorted(plan.flat)),
        page=_core.kv_page_bytes(list(plan.caches), kv_type),
        activations=without,
        vocabulary=_vocabulary_bytes(file.header),
        process=process,
        limit=limit,
        limited_by=limited_by,
        partials=with_one - without,
    )
    return empty.with_context(context)


def fitted(needs: MemoryPlan, asked: bool, path: str) -> MemoryPlan:
    """The plan as it is or, where nobody asked for so many positions and memory is short of them, with fewer.

    Raises MemoryLimitError with the numbers, and the largest context that fits; ContextError for more positions than there
    can be.
    """
    fitting = needs if asked else needs.with_context(_default_context(needs))
    if fitting.kv > fitting.kv_limit:
        raise MemoryLimitError(f"{printable(path)}: {_refusal(fitting)}")
    if needs.context > MAX_CONTEXT:
        raise ContextError(f"context must be at most {MAX_CONTEXT}, not {needs.context}")
    return fitting


def _default_context(needs: MemoryPlan) -> int:
    """The wanted context, or what fits comfortably, or at least what fits at all."""
    comfortable = needs.largest_within(int(needs.room * _COMFORTABLE))
    return min(needs.context, max(comfortable, min(_SHORTEST, needs.largest_context or _SHORTEST)))


def _vocabulary_bytes(metadata: dict[str, Any]) -> int:
    tokens = metadata.get("tokenizer.ggml.tokens")
    n_vocab = len(tokens) if isinstance(tokens, _core.Strings) else 0
    a_token = _TOKENIZER_BYTES.get(str(metadata.get("tokenizer.ggml.model")), max(_TOKENIZER_BYTES.values()))
    return n_vocab * (a_token + _SAMPLER_BYTES + _GUESSES_BYTES) + _FIRST_USE_BYTES


def _refusal(needs: MemoryPlan) -> str:
    assert needs.limit is not None
    fits = needs.largest_context
    return (
        f"weights need {_mb(needs.weights)}, keys and values of a context of {needs.context}: {_mb(needs.kv)}, "
        f"activations {_mb(needs.activations)}, "
        f"the tokenizer {_mb(needs.vocabulary)}, and the process has {_mb(needs.process)}: {_mb(needs.predicted)} in all, "
        f"and {needs.limited_by} {_mb(needs.limit)}; "
        + (f"the largest context that fits is {fits}" if fits else "the model does not fit")
    )


def _mb(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.0f} MB"
