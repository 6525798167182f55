#!/usr/bin/env python3
"""A runtime, loaded, in a process of its own: it reads calls from stdin and writes answers to stdout, both a line of JSON each.

`compare.py` starts it as `worker.py pyruntime MODEL THREADS CONTEXT`, or `worker.py bindings MODEL THREADS CONTEXT PACKAGE FA`
for llama-cpp-python, whose package (a folder with its shared library in `lib`) knows how that library's structures lie; FA is
1 for flash attention. The calls are the methods of the two classes below.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from works import Work

WORDS = "the cat and the dog sat on a mat in the sun and saw how one of us read what we had to say of it all"


class Pyruntime:
    def __init__(self, path: str, threads: str, context: str) -> None:
        import pyruntime

        self.model = pyruntime.Model(path, threads=int(threads), context=int(context))
        self.ids = np.random.default_rng(0).integers(0, self.model.n_vocab, int(context)).astype(np.int32)

    def about(self) -> str:
        import pyruntime

        return f"pyruntime {pyruntime.__version__}, {self.model.isa}, {self.model.threads} threads"

    def run(self, work: dict[str, int]) -> float:
        """Seconds."""
        given = Work(**work)
        if given.read:
            with self.model.session() as session:
                start = time.perf_counter()
                session.append(self.ids[: given.read])
                return time.perf_counter() - start
        return self._write(given)

    def _write(self, work: Work) -> float:
        engine, logits = self.model.engine, np.empty((work.sequences, self.model.n_vocab), np.float32)
        sessions = [self.model.session() for _ in range(work.sequences)]
        try:
            for session in sessions:
                session.append(self.ids[: work.depth])
            start = time.perf_counter()
            for i in range(work.depth, work.depth + work.write):
                engine.step([(session.sequence, self.ids[i : i + 1], 1) for session in sessions], logits)
            return time.perf_counter() - start
        finally:
            for session in sessions:
                session.close()

    def machine(self) -> dict[str, float]:
        """The machine's own limits, with as many threads and the same instruction set."""
        from pyruntime import hardware

        found = hardware.measure(self.model.threads, self.model.isa)
        return {"memory_bandwidth": found.memory_bandwidth, "int8_peak": found.int8_peak}

    def cost(self, work: dict[str, int]) -> dict[str, int]:
        """Operations of reading; bytes of writing in one sequence: several share the weights, and caches keep small ones."""
        from pyruntime import _core, hardware
        from pyruntime.plan.cost import Cost

        given = Work(**work)
        with _core.GGUF(self.model.path) as file:
            cost = Cost(file, self.model.plan, self.model.kv_type)
        if given.read:
            return {"operations": cost.operations(given.read)}
        if given.sequences > 1 or cost.bytes_of_token(given.depth) < 2 * hardware.cache_bytes():
            return {}
        return {"bytes": sum(cost.bytes_of_token(given.depth + i) for i in range(given.write))}

    def default_context(self) -> int:
        from pyruntime import _core, arch

        with _core.GGUF(self.model.path) as file:
            return arch.blueprint(file).context

    def prompt(self, n: int) -> tuple[str, str, int]:
        """A text that makes a prompt of at least n tokens, the same in the model's template, and how many there are."""
        words: list[str] = []
        for word in WORDS.split() * n:
            words.append(word)
            text = " ".join(words)
            as_user = [{"role": "user", "content": text}]
            rendered = text if self.model.chat_template is None else self.model.render(as_user)
            if (found := len(self.model.encode(rendered))) >= n:
                return text, rendered, found
        raise ValueError(f"no prompt of {n} tokens in the model's vocabulary")


class Bindings:
    def __init__(self, path: str, threads: str, context: str, package: str, flash_attention: str) -> None:
        sys.path.insert(0, str(Path(package).parent))
        self.lib = importlib.import_module(Path(package).name)
        n_threads = int(threads)
        self.model = self.lib.Llama(
            path, n_ctx=int(context), n_threads=n_threads, n_threads_batch=n_threads, n_batch=512, n_ubatch=512,
            flash_attn=flash_attention == "1", verbose=False,
        )  # fmt: skip
        self.ids = np.random.default_rng(0).integers(0, self.model.n_vocab(), int(context)).tolist()

    def about(self) -> tuple[str, str]:
        """Its version, and what it tells of its instruction sets."""
        return f"{self.lib.__name__} {self.lib.__version__}", self.lib.llama_print_system_info().decode()

    def run(self, work: dict[str, int]) -> float:
        """Seconds. Steps of 512 tokens at most: llama_decode takes no more at a time."""
        given = Work(**work)
        if given.sequences > 1:
            raise ValueError("llama-cpp-python makes its context for one sequence")
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.model.ctx), True)
        n_untimed = given.depth
        self._read(self.ids[:n_untimed])
        start = time.perf_counter()
        self._read(self.ids[n_untimed : n_untimed + given.read])
        for i in self.ids[n_untimed : n_untimed + given.write]:
            self._decode([i])
        return time.perf_counter() - start

    def _read(self, ids: list[int]) -> None:
        for at in range(0, len(ids), 512):
            self._decode(ids[at : at + 512])

    def _decode(self, ids: list[int]) -> None:
        array = (ctypes.c_int32 * len(ids))(*ids)  # named: the batch only points to it
        batch = self.lib.llama_batch_get_one(array, len(ids))
        if self.lib.llama_decode(self.model.ctx, batch) != 0:
            raise RuntimeError("llama_decode failed")
        self.lib.llama_synchronize(self.model.ctx)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    kind, *arguments = sys.argv[1:]
    runtime: Any = {"pyruntime": Pyruntime, "bindings": Bindings}[kind](*arguments)
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(getattr(runtime, name)(*arguments)), file=answers, flush=True)


if __name__ == "__main__":
    main()
