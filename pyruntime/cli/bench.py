"""Measure how fast a model reads and writes, and how much of what the machine gives that is.

A prompt is read and tokens are written, once to warm up and then several times; the speeds are those of the median, and
the spread is from the fastest time to the slowest. What the machine gives is the most bytes a second that the threads read
from memory, and the most operations a second of the instruction that multiplies bytes, measured before and after. Operations
are two for each multiplication that is added up; bytes are those of the weights and the keys and values that a token reads.

With `--profile` both are done as often again, by the loop that `pyruntime generate` runs, and each thread looks at the clock
around every operation of the plan and every barrier. Two tables tell, of the fastest reading and of a token of the fastest
writing, how long each kind of operation took (the time of all threads divided by their number, so that the column adds up), how
long threads waited behind it, and of products how fast they multiplied, or read their weights, while they ran. Below stand all
waiting at barriers; the time until all threads have begun, and ended; the sampling of the core with the call itself; and Python.

With `--json` an object with `model` (as it was asked for), `file`, `architecture`, `size` (bytes of the file), `parameters`,
`context`, `threads`, `isa`, `kv_type`, `version`; `prefill`: `tokens`, `tokens_per_second`, `spread`, `seconds` (a list),
`tera_ops_per_second`, `share_of_peak`; `generate`: `tokens`, `tokens_per_second`, `spread`, `seconds`,
`gigabytes_per_second`, `share_of_bandwidth` (null where the processor's caches hold much of the model); `load`: `seconds`;
`hardware`: `memory_bandwidth` (bytes a second), `int8_peak` (operations a second). Spreads and shares are fractions of 1. With
`--profile` also `profile`, of `prefill` and of `generate`: `tokens`, `seconds`, `waiting_seconds`, `starting_seconds`,
`sampling_seconds`, `python_seconds`; `operations`, a list of `name`, `weights` (their types), `steps` (of the plan), `seconds`,
`waiting_seconds`, and `tera_ops_per_second` and `share_of_peak`, or `gigabytes_per_second` and `share_of_bandwidth`: null
where it is no product.
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
    from pyruntime.profiling import Part


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
    parser.add_argument("--profile", action="store_true", help="tell where the time goes, by operation")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    add_load_options(parser)


def run(args: argparse.Namespace) -> int:
    name, needed = args.model, args.prefill + args.generate + args.profile  # a profile's last token is drawn, too
    if args.context is not None:
        _check_context(args.context, needed)
    args.model = str(find_model(name))

    from pyruntime import bench

    started = time.perf_counter()
    with open_model(args) as model:
        load_seconds = time.perf_counter() - started
        _check_context(model.context, needed)
        with told("measuring", "repetitions", 1 + args.repetitions * (1 + args.profile)) as progress:
            found = bench.measure(
                model,
                prefill=args.prefill,
                generate=args.generate,
                repetitions=args.repetitions,
                profile=args.profile,
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
        *_profile_lines(found, width),
    ]


def _profile_lines(found: Benchmark, width: int | None) -> list[str]:
    if found.profile is None:
        return []
    machine = found.hardware
    bandwidth = machine.memory_bandwidth if found.is_limited_by_memory else None
    prefill, generate = found.profile.prefill, found.profile.generate
    return [
        "",
        *_part_lines("prefill", prefill, prefill.seconds, ("Tera-ops/s", 1e12, 3, machine.int8_peak), width),
        "",
        *_part_lines("a token", generate, generate.seconds / generate.tokens, ("GB/s", 1e9, 1, bandwidth), width),
    ]


def _part_lines(
    title: str, part: Part, seconds: float, rate: tuple[str, float, int, float | None], width: int | None
) -> list[str]:
    """seconds: what the table adds up to, part.seconds or a part of it. rate: its unit, how much that is, digits, and the most of
    the machine."""
    unit, of_unit, digits, most = rate

    def milliseconds(value: float) -> str:
        return f"{1e3 * value * seconds / part.seconds:.3f}"

    rows = [(title, "weights", "steps", "ms", "share", "waiting", unit, "of the machine's")]
    for o in part.operations:
        reached = f"{o.rate / of_unit:.{digits}f}" if o.work else ""
        share = f"{o.rate / most:.0%}" if o.work and most else ""
        of_part = f"{o.seconds / part.seconds:.1%}"
        rows.append(
            (o.name, o.weights, f"{o.steps}", milliseconds(o.seconds), of_part, milliseconds(o.waiting), reached, share)
        )
    beside = {
        "waiting at barriers": part.waiting,
        "starting threads": part.starting,
        "sampling": part.sampling,
        "Python": part.python,
        "all": part.seconds,
    }
    rows += [
        (name, "", "", milliseconds(value), f"{value / part.seconds:.1%}", "", "", "") for name, value in beside.items()
    ]
    return columns(rows, right=frozenset({2, 3, 4, 5, 6, 7}), width=width)


def _speed(what: str, timing: Timing) -> tuple[str, str, str, str]:
    return what, f"{timing.tokens:,}", f"{timing.tokens_per_second:,.1f}", f"{timing.spread:.0%}"


def _as_json(found: Benchmark, name: str, path: str, load_seconds: float) -> dict[str, Any]:
    report = {
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
    if found.profile is not None:
        bandwidth = found.hardware.memory_bandwidth if found.is_limited_by_memory else None
        prefill = ("tera_ops_per_second", 1e12, "share_of_peak", found.hardware.int8_peak)
        generate = ("gigabytes_per_second", 1e9, "share_of_bandwidth", bandwidth)
        report["profile"] = {
            "prefill": _part_as_json(found.profile.prefill, *prefill),
            "generate": _part_as_json(found.profile.generate, *generate),
        }
    return report


def _part_as_json(part: Part, unit: str, of_unit: float, share: str, most: float | None) -> dict[str, Any]:
    return {
        "tokens": part.tokens,
        "seconds": part.seconds,
        "operations": [
            {
                "name": o.name,
                "weights": o.weights,
                "steps": o.steps,
                "seconds": o.seconds,
                "waiting_seconds": o.waiting,
                unit: o.rate / of_unit if o.work else None,
                share: o.rate / most if o.work and most else None,
            }
            for o in part.operations
        ],
        "waiting_seconds": part.waiting,
        "starting_seconds": part.starting,
        "sampling_seconds": part.sampling,
        "python_seconds": part.python,
    }


def _timing_as_json(timing: Timing) -> dict[str, Any]:
    return {
        "tokens": timing.tokens,
        "tokens_per_second": timing.tokens_per_second,
        "spread": timing.spread,
        "seconds": list(timing.seconds),
    }
