#!/usr/bin/env python3
"""Speed against llama.cpp and its forks on the same file, machine and threads:

    benchmarks/compare.py MODEL... --peer llama.cpp=FOLDER --peer ik_llama.cpp=FOLDER [--works prefill,generate]

A peer is a folder with `llama-bench` (or that program), built for this machine; or llama-cpp-python's `llama_cpp/lib`. The
runtimes take turns, so that a busy neighbour slows all; figures are medians, and a ratio is the median of the ratios of
neighbouring turns: above 1, pyruntime is faster, or smaller.

Each runtime is a process of its own. pyruntime stays loaded in one, and its first run does not count. A peer's `llama-bench` is
called anew each turn, and its second run counts: it is the program that its authors measure with, its timers leave loading
and repacking out, no Python runs between its tokens, and the options say the same in every version, where the structures of
the library do not. Each peer is first measured once with each setting that may be better for it (flash attention on and off;
run-time repacking in ik_llama.cpp; long works cut to 2,048 tokens), and takes its turns with the best, which is printed;
one with which it fails is told and left out.

Works: `prefill` reads 512 random ids in one go; `generate` feeds 64 one by one after a prompt of 16; `batch` feeds 32 to each of
8 sequences together, and to one alone; `long` generates 32 at a context of 128 and of 8,192, and reads 512 and 8,192;
`start` is a cold process with a warm file cache that gets a prompt of 30 tokens in a pipe, template included, up to the first
byte of its answer, and its peak memory; all with the context that pyruntime takes by default.

Shares are of what the machine gave in the same minutes, as `pyruntime bench` measures it: of the memory's bandwidth where tokens
are generated (none where the caches hold half of what a token reads), of the multiplications of bytes where a prompt is read.
A peer's are of the same bytes and operations, those that pyruntime's layout has: in K-quants up to 3 % more bytes than the
file's. `--plot` draws tokens a second against these limits.

Two runs at once would measure each other: the second one refuses.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import plot
from runtimes import Peer, PeerError, Programs, Pyruntime, open_peer
from works import WORKS, Work

from pyruntime.system import default_threads

START = "start"
START_TOKENS = 30
COLUMNS = ("work", "runtime", "median", "spread", "of the machine", "ratio", "setting")

Turns = dict[str, list[float]]


def taking_turns(runs: Mapping[str, Callable[[], float]], repetitions: int) -> Turns:
    """What each gives, in each turn."""
    found: Turns = {name: [] for name in runs}
    for _ in range(repetitions):
        for name, run in runs.items():
            found[name].append(run())
    return found


def ratio(peer: list[float], ours: list[float]) -> float:
    return statistics.median(p / o for p, o in zip(peer, ours, strict=True))


def spread(values: list[float]) -> float:
    return (max(values) - min(values)) / statistics.median(values)


def best(peer: Peer, run: Callable[[str], float], settings: tuple[str, ...]) -> str:
    """The fastest. One with which the peer fails is told and left out, unless there is no other."""
    if len(settings) == 1:
        return settings[0]
    seconds, errors = {}, []
    for setting in settings:
        try:
            seconds[setting] = run(setting)
        except PeerError as error:
            print(f"{peer.name} fails with {setting}: {str(error).splitlines()[-1]}", flush=True)
            errors.append(error)
    if not seconds:
        raise errors[0]
    return min(seconds, key=lambda setting: seconds[setting])


def better(a: dict[str, float], b: dict[str, float]) -> dict[str, float]:
    """Of two measurements of the machine: what disturbs one only ever makes it slower."""
    return {name: max(a[name], b[name]) for name in a}


def measure(work: Work, ours: Pyruntime, peers: list[Peer], repetitions: int) -> dict[str, Any]:
    """One work, all runtimes."""
    able = [peer for peer in peers if peer.can(work)]
    settings = {peer.name: best(peer, partial(peer.seconds, work.shortened()), peer.settings) for peer in able}
    ours.seconds(work)  # warms up
    machine = ours.worker.call("machine")
    runs = {ours.name: partial(ours.seconds, work)}
    runs |= {peer.name: partial(peer.seconds, work, settings[peer.name]) for peer in able}
    seconds = taking_turns(runs, repetitions)
    machine = better(machine, ours.worker.call("machine"))
    cost = ours.worker.call("cost", asdict(work))
    found = {}
    for name, times in seconds.items():
        median = statistics.median(times)
        found[name] = {
            "tokens_per_second": work.tokens / median,
            "seconds": times,
            "spread": spread(times),
            "ratio": ratio(times, seconds[ours.name]),
            "setting": settings.get(name, ""),
        }
        if "bytes" in cost:
            found[name]["share_of_bandwidth"] = cost["bytes"] / median / machine["memory_bandwidth"]
        if "operations" in cost:
            found[name]["share_of_peak"] = cost["operations"] / median / machine["int8_peak"]
    unable = [peer.name for peer in peers if peer not in able]
    return {"runtimes": found, "machine": machine, "cost": cost, "unable": unable}


def measure_start(ours: Pyruntime, peers: list[Peer], repetitions: int) -> dict[str, Any]:
    text, rendered, n_tokens = ours.worker.call("prompt", START_TOKENS)
    context = ours.worker.call("default_context")
    able = [peer for peer in peers if isinstance(peer, Programs) and peer.can_start]
    runtimes: list[Pyruntime | Programs] = [ours, *able]
    peaks: Turns = {runtime.name: [] for runtime in runtimes}

    def first_byte(runtime: Pyruntime | Programs, setting: str = "") -> float:
        start = runtime.start(text) if isinstance(runtime, Pyruntime) else runtime.start(rendered, context, setting)
        peaks[runtime.name].append(start.bytes)
        return start.seconds

    settings = {peer.name: best(peer, partial(first_byte, peer), peer.start_settings) for peer in able}
    first_byte(ours)
    for values in peaks.values():
        values.clear()  # of the turns alone
    runs = {runtime.name: partial(first_byte, runtime, settings.get(runtime.name, "")) for runtime in runtimes}
    seconds = taking_turns(runs, repetitions)
    found = {
        name: {
            "seconds": times,
            "spread": spread(times),
            "ratio": ratio(times, seconds[ours.name]),
            "peak_bytes": max(peaks[name]),
            "peak_ratio": ratio(peaks[name], peaks[ours.name]),
            "setting": settings.get(name, ""),
        }
        for name, times in seconds.items()
    }
    unable = [peer.name for peer in peers if peer not in able]
    return {"runtimes": found, "prompt_tokens": n_tokens, "context": context, "unable": unable}


def rows(work: str, found: dict[str, Any]) -> list[tuple[str, ...]]:
    """Of the table; what a peer has no program for is told."""
    table = []
    for name, figures in found["runtimes"].items():
        is_ours = name == Pyruntime.name
        share = figures.get("share_of_bandwidth", figures.get("share_of_peak"))
        ratios = [figures["ratio"], *([figures["peak_ratio"]] if "peak_ratio" in figures else [])]
        table.append(
            (
                work,
                name,
                f"{figures['tokens_per_second']:.1f} tokens/s"
                if "tokens_per_second" in figures
                else f"{statistics.median(figures['seconds']):.2f} s, {figures['peak_bytes'] / 1e6:.0f} MB",
                f"{figures['spread']:.0%}",
                "" if share is None else f"{share:.0%}",
                "" if is_ours else " / ".join(f"{r:.2f}" for r in ratios),
                figures["setting"],
            )
        )
    return table + [(work, name, "has nothing for it", "", "", "", "") for name in found["unable"]]


def markdown(table: list[tuple[str, ...]]) -> list[str]:
    """Lines."""
    widths = [max(map(len, column)) for column in zip(COLUMNS, *table, strict=True)]
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (COLUMNS, tuple("-" * width for width in widths), *table)
    ]


@contextmanager
def only_run() -> Iterator[None]:
    """Refuses while another run measures on this machine. The system unlocks the file when its process ends, however it does."""
    path = Path(tempfile.gettempdir()) / "pyruntime-compare.lock"
    lock = os.open(path, os.O_CREAT | os.O_RDONLY | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(
            f"compare.py: another run of it measures on this machine (it holds {path}): start this one when it has ended"
        )
    try:
        yield
    finally:
        os.close(lock)


def compare(model: str, args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """All figures, and their table with what stands above it, as lines."""
    works = list(dict.fromkeys(work for name in args.works for work in WORKS.get(name, [])))
    context = max((work.context for work in works), default=512)
    ours = Pyruntime(model, args.threads, context)
    peers: list[Peer] = []
    report: dict[str, Any] = {"model": model}
    table = []
    try:
        for name, path in args.peer:
            peers.append(open_peer(name, path, model, args.threads, context))
        report["about"] = [runtime.about for runtime in (ours, *peers)]
        report["load_average"] = os.getloadavg()[0]
        busy = f"load average {report['load_average']:.1f} before the first turn"
        about = [*report["about"], busy]
        print(f"\n{model}", *about, "", sep="\n", flush=True)
        for work in works:
            report[str(work)] = measure(work, ours, peers, args.repetitions)
            table += rows(str(work), report[str(work)])
        if START in args.works:
            report[START] = measure_start(ours, peers, args.repetitions)
            table += rows(START, report[START])
    finally:
        for runtime in (ours, *peers):
            runtime.close()
    lines = markdown(table)
    print(*lines, sep="\n", flush=True)
    return report, [f"## {Path(model).name}", "", *(f"- {line}" for line in about), "", *lines, ""]


def named_path(text: str) -> tuple[str, Path]:
    name, _, path = text.rpartition("=")
    if not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, Path(path)


def work_names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in (*WORKS, START)]:
        raise argparse.ArgumentTypeError(f"no work {unknown[0]!r}; there are {', '.join((*WORKS, START))}")
    return names


def measure_all(args: argparse.Namespace) -> None:
    """Writes the files after each model: a long run may be ended."""
    reports, tables = [], []
    for model in args.models:
        report, lines = compare(model, args)
        reports.append(report)
        tables += lines
        if args.json:
            args.json.write_text(json.dumps(reports, indent=1) + "\n")
        if args.markdown:
            args.markdown.write_text("\n".join(tables))
        if args.plot:
            args.plot.write_text(plot.svg(reports))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", metavar="MODEL", nargs="+", type=lambda p: str(Path(p).resolve()))
    parser.add_argument("--peer", metavar="NAME=PATH", action="append", type=named_path, default=[])
    parser.add_argument(
        "--works", type=work_names, default=["prefill", "generate"], help="of all: " + ",".join((*WORKS, START))
    )
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--repetitions", type=int, default=5, help="turns that count (default: %(default)s)")
    parser.add_argument("--isa", help="what pyruntime is held to, such as avx2; a peer is what it was built for")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures to this file")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="write the tables to this file")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw them as SVG; plot.py draws what --json wrote")
    args = parser.parse_args()
    names = [Pyruntime.name, *(name for name, _ in args.peer)]
    if len(set(names)) < len(names):
        parser.error(f"each runtime needs a name of its own: {', '.join(names)}")
    if args.isa:
        os.environ["PYRUNTIME_ISA"] = args.isa  # the workers inherit it
    with only_run():
        measure_all(args)


if __name__ == "__main__":
    main()
