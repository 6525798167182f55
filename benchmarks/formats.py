#!/usr/bin/env python3
"""Speed of the weight formats: benchmarks/formats.py [--isa NAME] [--threads N] [--formats Q4_K,Q6_K] [--json FILE]

A plan of nothing but products (`--layers` square matrices of `--width`), so that what differs is the format. `decode` is a step
of one token, limited by reading the weights; `prefill` a step of 256, limited by integer arithmetic. The formats take turns,
`--rounds` times; times are medians, ratios are medians of ratios to the Q8_0 of the same round. CPU seconds of all threads, so
that a busy neighbour counts less.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import gguf
import numpy as np

from pyruntime import _core
from pyruntime.plan import PlanBuilder, Weights

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from block_formats import HALVES, random_tensor

N_VOCAB = 64
PREFILL = 256
BASELINE = "Q8_0"
Ids = np.ndarray[tuple[int], np.dtype[np.int32]]


class Products:
    """The plan with weights of one format, loaded."""

    def __init__(self, folder: Path, type_: str, width: int, layers: int, threads: int, isa: str) -> None:
        rng = np.random.default_rng(0)
        table = rng.standard_normal((N_VOCAB, width)).astype(np.float32)
        matrix = random_tensor(type_, width, width, width**-0.5, rng)
        path = folder / f"{type_}.gguf"
        writer = gguf.GGUFWriter(path, "products")
        writer.add_tensor("table.weight", table)
        for i in range(layers):
            writer.add_tensor(f"{i}.weight", matrix, raw_dtype=gguf.GGMLQuantizationType[type_])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

        file = _core.GGUF(path)
        weights = Weights.of(file)
        b = PlanBuilder()
        x = b.embedding(weights["table"])
        for i in range(layers):
            x = b.linear(x, weights[str(i)])
        plan = b.finish(b.linear(b.outputs(x), weights["table"]))
        self.bytes = _core.loaded_bytes(file, plan.weight_names, []) - table.nbytes
        self.weights = layers * width * width
        self.engine = _core.Engine(
            file,
            plan.weight_names,
            plan.for_core(),
            context=PREFILL,
            max_tokens=PREFILL,
            n_threads=threads,
            kv_type="f16",
            kv_max_bytes=1 << 20,
            isa=isa,
        )
        path.unlink()

    def seconds(self, n_tokens: int) -> float:
        ids = np.arange(n_tokens, dtype=np.int32) % N_VOCAB
        sequence = self.engine.sequence()
        start = time.process_time()
        self.engine.step([(sequence, ids, 1)])
        return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", default=",".join(HALVES))
    parser.add_argument("--isa", default="", help="default: the best")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    names = list(dict.fromkeys([BASELINE, *args.formats.split(",")]))
    with tempfile.TemporaryDirectory() as folder:
        models = {n: Products(Path(folder), n, args.width, args.layers, args.threads, args.isa) for n in names}
    times: dict[str, dict[int, list[float]]] = {name: {1: [], PREFILL: []} for name in names}
    for _ in range(args.rounds):
        for n_tokens in (1, PREFILL):
            for name, model in models.items():
                model.seconds(n_tokens)  # its own weights into the cache, if they fit
                times[name][n_tokens].append(model.seconds(n_tokens))

    print(f"{models[BASELINE].engine.isa}, {args.threads} threads, {args.layers} matrices of {args.width}")
    print(
        "| format | bits a weight | decode, GB/s | decode, time over Q8_0 | prefill, Gop/s | prefill, time over Q8_0 |"
    )
    print("|---|---|---|---|---|---|")
    report = {}
    for name, model in models.items():
        row = {"bits": 8 * model.bytes / model.weights}
        for label, n in (("decode", 1), ("prefill", PREFILL)):
            median = statistics.median(times[name][n]) / args.threads
            ratio = statistics.median(a / b for a, b in zip(times[name][n], times[BASELINE][n], strict=True))
            work = model.bytes if n == 1 else 2 * model.weights * n
            row |= {label: work / median / 1e9, f"{label}_ratio": ratio}
        report[name] = row
        print(
            f"| {name} | {row['bits']:.2f} | {row['decode']:.1f} | {row['decode_ratio']:.2f} "
            f"| {row['prefill']:.0f} | {row['prefill_ratio']:.2f} |"
        )
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
