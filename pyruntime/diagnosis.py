"""What this machine and this installation are, and what is wrong with them."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from pyruntime import __version__, _core, catalogue, hardware, hub, memory, system
from pyruntime.errors import UnsupportedError

_LITTLE_MEMORY = 1 << 30  # bytes: less than a model of a billion parameters takes
_LITTLE_DISK = 1 << 30
_SCALING_OF_ITS_OWN = (
    "intel_pstate",
    "amd-pstate",
    "amd-pstate-epp",
)  # drivers whose "powersave" is no fixed low clock


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong or slow, and what to do about it."""

    what: str
    mend: str


@dataclass(frozen=True, slots=True)
class InstructionSet:
    """A set of kernels in this build: what it needs, and whether this machine has that."""

    name: str
    needs: str
    supported: bool


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Bytes, bytes a second, operations a second. None: the system does not tell, or it was not measured."""

    version: str
    build: str
    python: str
    platform: str
    packages: dict[str, str | None]  # of what pyruntime requires; None: not installed
    cpu: str
    isa: str | None  # whose kernels run; None: what PYRUNTIME_ISA asks for cannot be had
    isas: tuple[InstructionSet, ...]  # of this build, the best first
    isa_asked: str | None  # PYRUNTIME_ISA
    processors: system.Processors
    threads: int
    memory_total: int | None
    memory_available: int | None
    cgroup_limit: int | None
    memory_bandwidth: float | None
    int8_peak: float | None
    models_folder: str
    hub_folder: str
    disk_free: int
    problems: tuple[Problem, ...]


def diagnose(measure: bool = True) -> Diagnosis:
    """Looks at the machine; with `measure`, reads memory and multiplies for half a second on all threads."""
    build = _core.build_info()
    processors = system.processors()
    isa, refusal = _isa()
    limit = memory.cgroup_memory()
    folder = catalogue.models_folder()
    packages = _packages()
    measured = hardware.measure(processors.threads) if measure and isa else None
    return Diagnosis(
        version=__version__,
        build=f"{build['compiler']}, {build['build_type']}{', sanitized' if build['sanitized'] else ''}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        packages={name: version for name, (version, _) in packages.items()},
        cpu=_cpu_name(),
        isa=isa,
        isas=tuple(InstructionSet(entry["name"], entry["needs"], entry["supported"]) for entry in build["isas"]),
        isa_asked=os.environ.get("PYRUNTIME_ISA") or None,
        processors=processors,
        threads=processors.threads,
        memory_total=memory.total_memory(),
        memory_available=memory.available_memory(),
        cgroup_limit=limit and limit[0],
        memory_bandwidth=None if measured is None else measured.memory_bandwidth,
        int8_peak=None if measured is None else measured.int8_peak,
        models_folder=str(folder),
        hub_folder=str(hub.cache_folder()),
        disk_free=shutil.disk_usage(_existing(folder)).free,
        problems=tuple([
            *_of_instructions(build, isa, refusal),
            *_of_build(build),
            *_of_processor(processors),
            *_of_memory(),
            *_of_packages(packages),
            *_of_folder(folder),
        ]),
    )  # fmt: skip


def _isa() -> tuple[str | None, str]:
    """The instruction set whose kernels run; or None, and why."""
    try:
        return _core.isa(), ""
    except UnsupportedError as error:
        return None, str(error)


def _of_instructions(build: _core.BuildInfo, isa: str | None, refusal: str) -> Iterator[Problem]:
    asked = os.environ.get("PYRUNTIME_ISA")
    if isa is None:
        yield Problem(refusal, "unset PYRUNTIME_ISA, or set it to what is available")
        return
    supported = [entry["name"] for entry in build["isas"] if entry["supported"]]
    if asked and isa != supported[0]:
        yield Problem(f"PYRUNTIME_ISA={asked} keeps {supported[0]} from being used", "unset PYRUNTIME_ISA")
    elif isa == "scalar" and len(build["isas"]) == 1:
        mend = "install it with a compiler that knows AVX2 or NEON (GCC 9 or newer, Clang 10 or newer)"
        yield Problem("this build has the scalar kernels alone, which are many times slower", mend)
    elif isa == "scalar":
        needs = " or ".join(entry["needs"] for entry in build["isas"][:-1])
        yield Problem(f"this CPU lacks {needs}: models run, many times slower", "use another machine")


def _of_build(build: _core.BuildInfo) -> Iterator[Problem]:
    mend = "pip install --force-reinstall --no-deps pyruntime"
    if build["version"] != __version__:
        yield Problem(f"the compiled core is of version {build['version']}, the package of {__version__}", mend)
    if build["sanitized"] or build["build_type"] not in ("Release", "RelWithDebInfo"):
        yield Problem(f"the core was built as {build['build_type']}, which is many times slower than Release", mend)
    if sys.platform == "darwin" and platform.machine() == "x86_64" and system.sysctl("sysctl.proc_translated"):
        yield Problem("this Python is one for Intel's processors, and runs translated", "install a Python for arm64")


def _of_processor(processors: system.Processors) -> Iterator[Problem]:
    folder = system.ROOT / "sys/devices/system/cpu/cpu0/cpufreq"
    governor, driver = system.read(folder / "scaling_governor"), system.read(folder / "scaling_driver")
    if governor == "powersave" and driver not in _SCALING_OF_ITS_OWN:
        mend = "sudo cpupower frequency-set -g schedutil, or your desktop's power settings"
        yield Problem("the processor is kept at its lowest clock (governor powersave)", mend)
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if busy > processors.online / 2 + 0.5:
        what = f"other programs are running: the load is {busy:.1f} on {processors.online} hardware threads"
        yield Problem(what, "end them (`top` shows them), or expect lower speeds")


def _of_memory() -> Iterator[Problem]:
    available = memory.available_memory()
    if available is not None and available < _LITTLE_MEMORY:
        limit = memory.cgroup_memory()
        tight = limit is not None and limit[1] <= available
        mend = "give the container more memory" if tight else "end other programs, or use a smaller model"
        yield Problem(f"only {available / 1e9:.2f} GB of memory are left", mend)


def _of_packages(packages: dict[str, tuple[str | None, str]]) -> Iterator[Problem]:
    for name, (version, wanted) in packages.items():
        if version is None:
            yield Problem(f"{name} is not installed", f"pip install '{name}{wanted}'")
        elif wanted.startswith(">=") and _numbers(version) < _numbers(wanted):
            yield Problem(f"{name} {version} is older than pyruntime needs", f"pip install '{name}{wanted}'")


def _of_folder(folder: Path) -> Iterator[Problem]:
    there = _existing(folder)
    if not os.access(there, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        yield Problem(f"models cannot be fetched: {there} is not writable", "set PYRUNTIME_HOME to a folder that is")
    elif (free := shutil.disk_usage(there).free) < _LITTLE_DISK:
        mend = "pyruntime models lists what is there, and pyruntime rm removes it"
        yield Problem(f"only {free / 1e9:.2f} GB are free where models are kept", mend)


def _packages() -> dict[str, tuple[str | None, str]]:
    """Of what pyruntime requires by name: the version that is installed, and what is wanted. Empty in a checkout that is not
    installed."""
    try:
        requirements = metadata.requires("pyruntime") or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, tuple[str | None, str]] = {}
    for requirement in requirements:
        parts = re.fullmatch(r"([A-Za-z0-9._-]+)\s*([^;]*)(;.*)?", requirement)
        if parts is None or "extra ==" in (parts[3] or ""):
            continue
        try:
            found[parts[1]] = metadata.version(parts[1]), parts[2].strip()
        except metadata.PackageNotFoundError:
            found[parts[1]] = None, parts[2].strip()
    return found


def _numbers(version: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", version)[:3]]


def _cpu_name() -> str:
    for line in (system.read(system.ROOT / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    board = system.read(system.ROOT / "proc/device-tree/model")  # of ARM, where cpuinfo has numbers alone
    return (board or "").strip("\0") or platform.processor() or platform.machine()


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())
