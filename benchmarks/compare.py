#!/usr/bin/env python3
"""Speed against llama.cpp on the same file, machine and threads: benchmarks/compare.py MODEL [--threads N] [--json FILE]

Both runtimes are loaded in one process and take turns, so that a busy neighbour slows both; the figures are medians
and the ratio is the median of the ratios of neighbouring runs. Neither samples: `prefill` reads --prefill random ids
in one go, `generate` feeds --generate ids one by one after a prompt of 16 and takes the logits of each. llama.cpp comes
from `llama-cpp-python`, built for this machine.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np

import pyruntime
from pyruntime.system import default_threads

PROMPT = 16


class Ours:
    name = "pyruntime"

    def __init__(self, path: str, threads: int, context: int) -> None:
        self.model = pyruntime.Model(path, threads=threads, context=context)
        self.n_vocab = self.model.n_vocab
        self.about = f"pyruntime {pyruntime.__version__}, {self.model.isa}, {self.model.threads} threads"

    def prefill(self, ids: list[int]) -> float:
        with self.model.session() as session:
            start = time.perf_counter()
            session.append(ids)
            return time.perf_counter() - start

    def generate(self, ids: list[int]) -> float:
        with self.model.session() as session:
            session.append(ids[:PROMPT])
            start = time.perf_counter()
            for i in ids[PROMPT:]:
                session.append([i])
            return time.perf_counter() - start


class LlamaCpp:
    name = "llama.cpp"

    def __init__(self, path: str, threads: int, context: int) -> None:
        import llama_cpp

        self.lib = llama_cpp
        self.model = llama_cpp.Llama(
            path, n_ctx=context, n_threads=threads, n_threads_batch=threads, n_batch=512, n_ubatch=512, verbose=False
        )
        flags = llama_cpp.llama_print_system_info().decode()
        self.about = f"llama-cpp-python {llama_cpp.__version__}, {threads} threads: {flags}"

    def _decode(self, ids: list[int]) -> None:
        array = (ctypes.c_int32 * len(ids))(*ids)
        batch = self.lib.llama_batch_get_one(array, len(ids))
        if self.lib.llama_decode(self.model.ctx, batch) != 0:
            raise RuntimeError("llama_decode failed")
        self.lib.llama_synchronize(self.model.ctx)

    def _clear(self) -> None:
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.model.ctx), True)

    def prefill(self, ids: list[int]) -> float:
        self._clear()
        start = time.perf_counter()
        self._decode(ids)
        return time.perf_counter() - start

    def generate(self, ids: list[int]) -> float:
        self._clear()
        self._decode(ids[:PROMPT])
        start = time.perf_counter()
        for i in ids[PROMPT:]:
            self._decode([i])
        return time.perf_counter() - start


def interleaved(runs: dict[str, Callable[[], float]], repetitions: int) -> dict[str, list[float]]:
    """Seconds of each, taking turns; the first turn warms up and does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repetitions + 1):
        for name, run in runs.items():
            took = run()
            if turn:
                seconds[name].append(took)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--alone", action="store_true", help="measure pyruntime only")
    parser.add_argument("--json", help="write the figures to this file")
    args = parser.parse_args()

    context = max(args.prefill, args.generate + PROMPT) + 64
    runtimes = [Ours(args.model, args.threads, context)]
    if not args.alone:
        runtimes.append(LlamaCpp(args.model, args.threads, context))
    rng = np.random.default_rng(0)
    ids = rng.integers(0, runtimes[0].n_vocab, max(args.prefill, args.generate + PROMPT)).tolist()

    figures: dict[str, object] = {"model": args.model, "runtimes": [r.about for r in runtimes]}
    print("\n".join(r.about for r in runtimes))
    print(f"\n| {'work':<14} | " + " | ".join(f"{r.name} tokens/s" for r in runtimes) + " | ratio |")
    print("|---|" + "---|" * (len(runtimes) + 1))
    for work, n, given in (
        ("prefill", args.prefill, args.prefill),
        ("generate", args.generate, args.generate + PROMPT),
    ):
        runs = {r.name: partial(getattr(r, work), ids[:given]) for r in runtimes}
        seconds = interleaved(runs, args.repetitions)
        speeds = {name: n / statistics.median(s) for name, s in seconds.items()}
        peer = seconds[runtimes[-1].name]
        ratio = statistics.median(p / o for p, o in zip(peer, seconds[Ours.name], strict=True))
        figures[work] = {"tokens_per_second": speeds, "ratio": ratio, "seconds": seconds}
        print(f"| {work} {n} | " + " | ".join(f"{v:.0f}" for v in speeds.values()) + f" | {ratio:.2f} |")
    if args.json:
        with open(args.json, "w") as f:
            json.dump(figures, f, indent=1)


if __name__ == "__main__":
    main()
