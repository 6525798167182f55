"""Tell what this machine gives, what of it is used and why, and what is wrong and how to mend it.

Exit code 1 if it keeps models from running. With `--json` an object with the fields of `pyruntime.diagnosis.Diagnosis`:
bytes, bytes a second and operations a second; `problems` is a list of `what` and `mend`.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from pyruntime.cli.tables import paragraphs, size, visible
from pyruntime.cli.terminal import width_of
from pyruntime.errors import PyruntimeError

if TYPE_CHECKING:
    from pyruntime.diagnosis import Diagnosis


def configure(parser: argparse.ArgumentParser) -> None:
    help = "leave out what takes a second: the memory's bandwidth and the processor's peak"
    parser.add_argument("--no-measure", action="store_true", help=help)
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(args: argparse.Namespace) -> int:
    from pyruntime.diagnosis import diagnose

    found = diagnose(measure=not args.no_measure)
    if args.json:
        print(json.dumps(asdict(found)))
    else:
        print("\n".join(paragraphs(_rows(found), width_of(sys.stdout))))
    return 0 if found.isa else PyruntimeError.exit_code


def _rows(d: Diagnosis) -> list[tuple[str, str]]:
    rows = [
        ("processor", f"{visible(d.cpu)}; {_plural(d.processors.online, 'hardware thread')}"),
        ("instructions", _instructions(d)),
        ("threads", _threads(d)),
        ("memory", _memory(d)),
    ]
    if d.memory_bandwidth is not None and d.int8_peak is not None:
        peak = f", {d.int8_peak / 1e12:.2f} Tera-ops/s of int8"
        bandwidth = f"{d.memory_bandwidth / 1e9:.1f} GB/s out of memory"
        rows.append(("measured", f"{bandwidth}{peak}, with {_plural(d.threads, 'thread')}"))
    packages = ", ".join(f"{name} {version or 'missing'}" for name, version in d.packages.items())
    rows += [
        ("pyruntime", f"{d.version}; {d.build}"),
        ("system", f"{d.python}, {d.platform}"),
        ("packages", packages or "not known: this is a checkout"),
        ("models", f"{visible(d.models_folder)}, {size(d.disk_free)} free; {visible(d.hub_folder)}"),
    ]
    if not d.problems:
        rows.append(("wrong", "nothing"))
    for problem in d.problems:
        rows += [("wrong", visible(problem.what)), ("mend", visible(problem.mend))]
    return rows


def _instructions(d: Diagnosis) -> str:
    supported = [entry.name for entry in d.isas if entry.supported]
    lacking = [f"{entry.name} needs {entry.needs}, which is not here" for entry in d.isas if not entry.supported]
    if d.isa is None:
        why = f"none: PYRUNTIME_ISA asks for {visible(d.isa_asked or '')}; there are {', '.join(supported)}"
    elif d.isa_asked:
        why = f"{d.isa}, as PYRUNTIME_ISA asks, of {', '.join(supported)}"
    else:
        why = f"{d.isa}, the best of {', '.join(supported)}"
    return "; ".join([why, *lacking])


def _threads(d: Diagnosis) -> str:
    p = d.processors
    parts = [_plural(p.cores, "physical core")]
    if p.allowed < p.online:
        parts.append(f"{p.allowed} of {p.online} hardware threads are allowed")
    if p.fast_cores < p.cores:
        parts.append(f"{p.cores - p.fast_cores} of them efficiency cores, which are left out")
    if p.quota is not None:
        parts.append(f"the cgroup grants {p.quota:g} CPUs")
    return f"{d.threads}: {', '.join(parts)}"


def _memory(d: Diagnosis) -> str:
    total = "?" if d.memory_total is None else size(d.memory_total)
    available = "?" if d.memory_available is None else size(d.memory_available)
    limit = "no limit of a cgroup" if d.cgroup_limit is None else f"the cgroup's limit is {size(d.cgroup_limit)}"
    return f"{total}, {available} of it available; {limit}"


def _plural(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"
