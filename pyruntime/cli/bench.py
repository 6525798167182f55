"""Measure how fast a model reads and writes, and how much of what the machine gives that is.

A prompt is read and tokens are written, once to warm up and then several times; the speeds are those of the median, and
the spread is from the fastest time to the slowest. What the machine gives is the most bytes a second that the threads read
from memory, and the most operations a second of the instruction that multiplies bytes, measured before and after. Operations
are two for each multiplication that is added up; bytes are those of the weights and the keys and values that a token reads.

With `--json` an object with `model` (as it was asked for), `file`, `architecture`, `size` (bytes of the file), `parameters`,
`context`, `threads`, `isa`, `kv_type`, `version`; `prefill`: `tokens`, `tokens_per_second`, `spread`, `seconds` (a list),
`tera_ops_per_second`, `share_of_peak`; `generate`: `tokens`, `tokens_per_second`, `spread`, `seconds`,
`gigabytes_per_second`, `share_of_bandwidth` (null where the processor's caches hold much of the model); `load`: `seconds`;
`hardware`: `memory_bandwidth` (bytes a second), `int8_peak` (operations a second). Spreads and shares are fractions of 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from pyruntime.cli.options import MODEL_HELP, UsageError, add_load_options, count, find_model, open_model
from pyruntime.cli.progress import told
from pyruntime.cli.tables import columns, size, visible, wrapped
from pyruntime.cli.terminal import note, width_of

if TYPE_CHECKING:
    from pyruntime.bench import Benchmark, Timing


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "--prefill", type=count, default=512, metavar="N", help="tokens of the prompt (default: %(default)s)"
    )
    parser.add_argument(
        "--generate", type=count, default=64, metavar="N", help="tokens to write after it (default: %(default)s)"
    )
    parser.add_argument(
        "--repetitions", type=count, default=5, metavar="N", help="how often both count (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    add_load_options(parser)


def run(args: argparse.Namespace) -> int:
    name, needed = args.model, args.prefill + args.generate
    if args.context is not None:
        _check_context(args.context, needed)
    args.model = str(find_model(name))

    from pyruntime import bench

    started = time.perf_counter()
    with open_model(args) as model:
        load_seconds = time.perf_counter() - started
        _check_context(model.context, needed)
        with told("measuring", "repetitions", args.repetitions + 1) as progress:
            found = bench.measure(
                model,
                prefill=args.prefill,
                generate=args.generate,
                repetitions=args.repetitions,
                progress=progress,
            )
        if args.json:
            print(json.dumps(_as_json(found, name, model.path, load_seconds)))
        else:
            print("\n".join(_lines(found, model.path, load_seconds, width_of(sys.stdout))))
    spread = max(found.prefill.spread, found.generate.spread)
    if spread > bench.NOISY:
        note(
            f"pyruntime: the repetitions differ by {spread:.0%}: something else uses this machine, or it runs hot; "
            "the figures are what was left"
        )
    return 0


def _check_context(context: int, needed: int) -> None:
    if needed > context:
        raise UsageError(
            f"the context of {context} is too short for the {needed} tokens of --prefill and --generate: "
            f"--context {needed} holds them"
        )


def _lines(found: Benchmark, path: str, load_seconds: float, width: int | None) -> list[str]:
    machine, share = found.hardware, found.share_of_bandwidth
    bandwidth = f"{machine.memory_bandwidth / 1e9:.1f} GB/s"
    rows = [
        ("", "tokens", "tokens/s", "spread", "reached", "of this machine's"),
        (
            *_speed("prefill", found.prefill),
            f"{found.tera_ops_per_second:.3f} Tera-ops/s",
            f"{found.share_of_peak:.0%} of {machine.int8_peak / 1e12:.3f} Tera-ops/s",
        ),
        (
            *_speed("generate", found.generate),
            f"{found.gigabytes_per_second:.1f} GB/s",
            f"{share:.0%} of {bandwidth}"
            if share is not None
            else f"{bandwidth}, but the caches hold much of the model",
        ),
    ]
    about = f"{visible(found.architecture)}, {found.parameters / 1e6:,.1f} M parameters, {size(found.file_bytes)}"
    settings = (
        f"{found.isa}, {found.threads} thread{'s' * (found.threads != 1)}, keys and values in {found.kv_type}, "
        f"context of {found.context}, loaded in {load_seconds:.2f} s, version {found.version}"
    )
    return [
        *wrapped(f"{visible(path)}: {about}", width),
        *wrapped(settings, width),
        "",
        *columns(rows, right=frozenset({1, 2, 3}), width=width),
    ]


def _speed(what: str, timing: Timing) -> tuple[str, str, str, str]:
    return what, f"{timing.tokens:,}", f"{timing.tokens_per_second:,.1f}", f"{timing.spread:.0%}"


def _as_json(found: Benchmark, name: str, path: str, load_seconds: float) -> dict[str, Any]:
    return {
        "model": name,
        "file": path,
        "architecture": found.architecture,
        "size": found.file_bytes,
        "parameters": found.parameters,
        "context": found.context,
        "threads": found.threads,
        "isa": found.isa,
        "kv_type": found.kv_type,
        "version": found.version,
        "prefill": {
            **_timing_as_json(found.prefill),
            "tera_ops_per_second": found.tera_ops_per_second,
            "share_of_peak": found.share_of_peak,
        },
        "generate": {
            **_timing_as_json(found.generate),
            "gigabytes_per_second": found.gigabytes_per_second,
            "share_of_bandwidth": found.share_of_bandwidth,
        },
        "load": {"seconds": load_seconds},
        "hardware": {
            "memory_bandwidth": found.hardware.memory_bandwidth,
            "int8_peak": found.hardware.int8_peak,
        },
    }


def _timing_as_json(timing: Timing) -> dict[str, Any]:
    return {
        "tokens": timing.tokens,
        "tokens_per_second": timing.tokens_per_second,
        "spread": timing.spread,
        "seconds": list(timing.seconds),
    }
