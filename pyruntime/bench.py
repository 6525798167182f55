"""How fast a model reads and writes, and how much of what the machine gives that is."""

from __future__ import annotations

import functools
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pyruntime import __version__, _core, hardware, profiling
from pyruntime.errors import ContextError
from pyruntime.hardware import Hardware
from pyruntime.memory import resident_memory
from pyruntime.model import Model
from pyruntime.plan.cost import Cost
from pyruntime.profiling import Profile
from pyruntime.session import Ids

NOISY = 0.1  # a spread above this says more of the machine than of the model


@dataclass(frozen=True, slots=True)
class Timing:
    """The same work several times: `tokens` of it each time, in so many `seconds`."""

    tokens: int
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.median

    @property
    def spread(self) -> float:
        """From the fastest to the slowest, as a share of the median."""
        return (max(self.seconds) - min(self.seconds)) / self.median


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What `measure` found, and of which model and settings.

    file_bytes: of all parts of the file. prefill_operations: of reading the prompt once, two for each multiplication that is
    added up. generate_bytes: of the weights and the keys and values that writing once reads. hardware: what the machine gave at
    best before and after. cache_bytes: of the processor's largest caches, 0 if unknown. profile: where the time goes, if it was
    asked for.
    """

    architecture: str
    file_bytes: int
    parameters: int
    context: int
    threads: int
    isa: str
    kv_type: str
    version: str
    prefill: Timing
    generate: Timing
    prefill_operations: int
    generate_bytes: int
    hardware: Hardware
    cache_bytes: int
    profile: Profile | None = None

    @property
    def tera_ops_per_second(self) -> float:
        """10**12 operations a second, of reading the prompt."""
        return self.prefill_operations / self.prefill.median / 1e12

    @property
    def share_of_peak(self) -> float:
        """Of the operations that the machine could make."""
        return self.tera_ops_per_second * 1e12 / self.hardware.int8_peak

    @property
    def gigabytes_per_second(self) -> float:
        """10**9 bytes a second, of writing."""
        return self.generate_bytes / self.generate.median / 1e9

    @property
    def share_of_bandwidth(self) -> float | None:
        """Of the bytes that the machine could read from memory; None where the caches keep much of a token's for the next."""
        if not self.is_limited_by_memory:
            return None
        return self.gigabytes_per_second * 1e9 / self.hardware.memory_bandwidth

    @property
    def is_limited_by_memory(self) -> bool:
        """Whether what a token reads is more than the caches could keep for the next."""
        return self.generate_bytes / self.generate.tokens >= 2 * self.cache_bytes


def measure(
    model: Model,
    *,
    prefill: int = 512,
    generate: int = 64,
    repetitions: int = 5,
    profile: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> Benchmark:
    """Reads a prompt of `prefill` tokens and writes `generate` more, greedily, `repetitions` times after a first one that does
    not count. The prompt is always the same, and of no text. Timed is `Session.append` alone: a token that is drawn
    greedily takes about as long (docs/performance.md).

    profile: then it is done as often again, by the loop of `Model.generate`, with a clock at every operation: the fastest
    reading and the fastest writing are the result's `profile`. progress: called after each repetition, progress(done, total),
    the first one included. What the machine gives is measured
    before and after. Raises ValueError for a number below 1, ContextError where the context is too short, GGUFError if the
    model's file, whose header is read once more, is gone.
    """
    for name, value in (("prefill", prefill), ("generate", generate), ("repetitions", repetitions)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    needed = prefill + generate + profile  # the last token of a profile is drawn, too
    if needed > model.context:
        raise ContextError(
            f"{prefill} tokens to read and {generate} to write do not fit the context of {model.context}; "
            f"load the model with one of {needed}, or measure fewer"
        )
    with _core.GGUF(model.path) as file:
        cost = Cost(file, model.plan, model.kv_type)
        parameters = sum(math.prod(tensor.shape) for tensor in file.tensors)
        file_bytes = file.file_bytes
    ids = prompt(model.n_vocab, prefill)
    given = _hardware(model)
    seconds = []
    profiles = []
    total = 1 + repetitions * (1 + profile)
    for done in range(total):
        if done <= repetitions:
            seconds.append(_repetition(model, ids, generate))
        else:
            profiles.append(profiling.profile(model, cost, ids, generate))
        if progress is not None:
            progress(done + 1, total)
    given = given.or_better(_hardware(model))
    reading, writing = zip(*seconds[1:], strict=True)
    return Benchmark(
        architecture=model.architecture,
        file_bytes=file_bytes,
        parameters=parameters,
        context=model.context,
        threads=model.threads,
        isa=model.isa,
        kv_type=model.kv_type,
        version=__version__,
        prefill=Timing(prefill, reading),
        generate=Timing(generate, writing),
        prefill_operations=cost.operations(prefill),
        generate_bytes=sum(cost.bytes_of_token(prefill + i) for i in range(generate)),
        hardware=given,
        cache_bytes=hardware.cache_bytes(),
        profile=functools.reduce(Profile.or_faster, profiles) if profiles else None,
    )


def prompt(n_vocab: int, n: int) -> Ids:
    """The same n ids everywhere, spread over the vocabulary."""
    return (np.arange(1, n + 1, dtype=np.int64) * 2654435761 % (1 << 32) % n_vocab).astype(np.int32)


def _repetition(model: Model, ids: Ids, generate: int) -> tuple[float, float]:
    """Seconds of reading, and of writing."""
    with model.session() as session:
        start = time.perf_counter()
        logits = session.append(ids)
        reading = time.perf_counter() - start
        writing = 0.0
        for _ in range(generate):
            token = [int(logits.argmax())]
            start = time.perf_counter()
            logits = session.append(token)
            writing += time.perf_counter() - start
    return reading, writing


def _hardware(model: Model) -> Hardware:
    """With the model's threads and instruction set, in the memory that it was told to leave."""
    limit = model.memory.limit
    return hardware.measure(model.threads, model.isa, None if limit is None else max(0, limit - resident_memory()))
