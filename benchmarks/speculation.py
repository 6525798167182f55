#!/usr/bin/env python3
"""Speculation on and off: benchmarks/speculation.py MODEL [--draft MODEL] [--repetitions N] [--max-tokens N] [--json FILE]

Copying work (a summary with quotations, an edit of code) and free chat, greedily and with the default sampling. On and off take
turns; each "on" begins anew, with nothing learnt, as a process does. Timed is what follows the first token. The ratio is the
median of the ratios of neighbours, of elapsed and of processor time: on a machine that others use the second is the better one.
Texts must be the same, or it fails.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyruntime import Generation, Model
from pyruntime.speculation import Speculation

ROOT = Path(__file__).resolve().parent.parent
CODE = (ROOT / "pyruntime" / "overflow.py").read_text(encoding="utf-8")
TEXT = (ROOT / "docs" / "fuzzing.md").read_text(encoding="utf-8")[:3000]

WORKS = {
    "edit": [
        f"```python\n{CODE}```\nRename the function `fit` to `shorten` and write the whole file again.",
        f"```python\n{CODE[-1200:]}```\nAdd a docstring to each function and write the code again.",
    ],
    "summary": [
        f"{TEXT}\n\nSummarize this text in a few sentences. Quote its most important sentences word by word.",
        f"{TEXT[:1200]}\n\nList the three main points of this text, each with the sentence that says it.",
    ],
    "chat": [
        "Tell me a story about a lighthouse keeper who finds a letter.",
        "Why is the sky blue, and why is it red in the evening?",
        "I have three days in Rome. What should I see?",
    ],
}
SAMPLINGS: dict[str, dict[str, Any]] = {"greedy": {"temperature": 0.0}, "sampled": {}}


@dataclass
class Run:
    generation: Generation
    seconds: float
    cpu: float
    steps: int


def run(model: Model, question: str, max_tokens: int, sampling: dict[str, Any], speculation: Speculation | None) -> Run:
    model.speculation = speculation
    stream = model.stream_chat([{"role": "user", "content": question}], max_tokens=max_tokens, seed=1, **sampling)
    before = None
    for _ in stream.parts():
        if before is None:
            before = time.perf_counter(), time.process_time(), model.engine.counters()["steps"]
    assert before is not None, "a model that says nothing is no measure"
    seconds, cpu = time.perf_counter() - before[0], time.process_time() - before[1]
    return Run(stream.result, seconds, cpu, model.engine.counters()["steps"] - before[2])


def measure(model: Model, draft: Model | None, args: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for name, sampling in SAMPLINGS.items():
        for work, questions in WORKS.items():
            elapsed, cpu = [], []
            tokens = steps = drafted = accepted = 0
            for _ in range(args.repetitions):
                for question in questions:
                    off = run(model, question, args.max_tokens, sampling, None)
                    on = run(model, question, args.max_tokens, sampling, Speculation(model.n_vocab, draft))
                    if (on.generation.ids, on.generation.text) != (off.generation.ids, off.generation.text):
                        raise SystemExit(f"{work}: another text with speculation than without")
                    elapsed.append(off.seconds / on.seconds)
                    cpu.append(off.cpu / on.cpu)
                    tokens += len(on.generation.ids) - 1
                    steps += on.steps
                    drafted += int(on.generation.timings["drafted_tokens"])
                    accepted += int(on.generation.timings["accepted_tokens"])
            rows.append(
                {
                    "work": work, "sampling": name, "elapsed": statistics.median(elapsed), "cpu": statistics.median(cpu),
                    "worst_cpu": min(cpu), "tokens_a_step": tokens / steps, "drafted": drafted, "accepted": accepted,
                    "tokens": tokens,
                }
            )  # fmt: skip
            r = rows[-1]
            print(
                f"| {work} | {name} | {r['elapsed']:.2f} | {r['cpu']:.2f} | {r['worst_cpu']:.2f} | {r['tokens_a_step']:.2f} "
                f"| {accepted / drafted if drafted else 0:.0%} |",
                flush=True,
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--draft", metavar="MODEL")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--json", metavar="FILE", type=Path)
    args = parser.parse_args()
    draft = Model(args.draft, context=4096) if args.draft else None
    with Model(args.model, context=4096, draft=draft) as model:
        print(f"{args.model}: {model.isa}, {model.threads} threads; off / on: above 1 is faster with speculation")
        print(
            "| work | sampling | elapsed | CPU | worst CPU | tokens a step | guesses right |\n|---|---|---|---|---|---|---|"
        )
        rows = measure(model, draft, args)
    if args.json:
        args.json.write_text(json.dumps({"model": args.model, "draft": args.draft, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
