"""`doctor`: what it tells of machines, and each thing that it finds wrong."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from cli_tools import Cli
from test_system import Machine

import pyruntime
from pyruntime import _core, diagnosis
from pyruntime.diagnosis import diagnose
from pyruntime.errors import UnsupportedError

FIELDS = {
    "version": str,
    "build": str,
    "python": str,
    "platform": str,
    "packages": dict,
    "cpu": str,
    "isa": str,
    "isas": list,
    "isa_asked": type(None),
    "processors": dict,
    "threads": int,
    "memory_total": int,
    "memory_available": int,
    "cgroup_limit": (int, type(None)),
    "memory_bandwidth": float,
    "int8_peak": float,
    "models_folder": str,
    "hub_folder": str,
    "disk_free": int,
    "problems": list,
}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """One on which nothing is wrong."""
    monkeypatch.delenv("PYRUNTIME_ISA", raising=False)
    monkeypatch.setattr(diagnosis.os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    machine = Machine(tmp_path / "machine", monkeypatch)
    machine.write("proc/cpuinfo", "processor\t: 0\nmodel name\t: A Fine CPU\x1b[2J 9000\nflags\t\t: fpu")
    return machine


def problem() -> str:
    """The only thing that is wrong."""
    (found,) = diagnose(measure=False).problems
    assert found.mend
    return found.what


def build(**changes: Any) -> Any:
    return lambda: _CORE_BUILD | changes


_CORE_BUILD: dict[str, Any] = dict(_core.build_info())


def test_json(cli: Cli) -> None:
    done = cli("doctor", "--json")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert set(found) == set(FIELDS)
    for key, kinds in FIELDS.items():
        assert isinstance(found[key], kinds), key
    assert found["version"] == pyruntime.__version__
    assert found["isa"] == _core.isa()
    assert found["memory_bandwidth"] > 1e8
    assert found["int8_peak"] > 1e8
    assert all(set(entry) == {"what", "mend"} for entry in found["problems"])


def test_nothing_is_wrong(machine: Machine, cli: Cli) -> None:
    done = cli("doctor", "--no-measure")
    assert (done.code, done.err) == (0, "")
    heads = [line.split("  ")[0] for line in done.out.splitlines()]
    assert heads == [
        "processor",
        "instructions",
        "threads",
        "memory",
        "pyruntime",
        "system",
        "packages",
        "models",
        "wrong",
    ]
    assert done.out.endswith("wrong         nothing\n")
    assert "\x1b" not in done.out
    assert "A Fine CPU" in done.out
    assert "16: 16 physical cores, 16 of 64 hardware threads are allowed" in done.out
    assert f"{_core.isa()}, the best of {', '.join(_core.available_isas())}" in done.out


def test_what_limits_it(machine: Machine, cli: Cli) -> None:
    machine.write("sys/devices/cpu_atom/cpus", "8-15")
    machine.write("sys/fs/cgroup/app/cpu.max", "150000 100000")
    machine.memory("sys/fs/cgroup/app", 4 << 30, used=1 << 30, cache=0)
    out = cli("doctor", "--no-measure").out
    assert (
        "2: 16 physical cores, 16 of 64 hardware threads are allowed, 8 of them efficiency cores, which are left out, "
        in out
    )
    assert "the cgroup grants 1.5 CPUs" in out
    assert "3.22 GB of it available; the cgroup's limit is 4.29 GB" in out


# What is wrong


def test_an_instruction_set_that_cannot_be_had(machine: Machine, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRUNTIME_ISA", "mmx")
    assert problem().startswith("PYRUNTIME_ISA: no instruction set named 'mmx'")
    done = cli("doctor")
    assert done.code == 1
    assert "none: PYRUNTIME_ISA asks for mmx" in done.out


def test_the_core_is_asked_once_for_its_instruction_set(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told of it, and what is wrong with it, come from the same answer."""
    answers = iter([UnsupportedError("the first answer")])

    def isa() -> str:
        raise next(answers)

    monkeypatch.setattr(_core, "isa", isa)
    assert problem() == "the first answer"


@pytest.mark.skipif(len(_core.available_isas()) < 2, reason="this machine has the scalar kernels alone")
def test_a_slower_instruction_set_that_was_asked_for(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRUNTIME_ISA", "scalar")
    assert problem() == f"PYRUNTIME_ISA=scalar keeps {_core.available_isas()[0]} from being used"


def test_an_old_processor(machine: Machine, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    isas = [
        {"name": "avx2", "needs": "AVX2, FMA and F16C", "supported": False},
        {"name": "scalar", "needs": "nothing", "supported": True},
    ]
    monkeypatch.setattr(_core, "build_info", build(isas=isas))
    monkeypatch.setattr(_core, "isa", lambda: "scalar")
    assert problem() == "this CPU lacks AVX2, FMA and F16C: models run, many times slower"
    assert "avx2 needs AVX2, FMA and F16C, which is not here" in cli("doctor", "--no-measure").out
    monkeypatch.setattr(_core, "build_info", build(isas=isas[1:]))
    assert "the scalar kernels alone" in problem()


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"version": "0.0.9"}, "the compiled core is of version 0.0.9"),
        ({"build_type": "Debug"}, "built as Debug"),
        ({"sanitized": True}, "many times slower than Release"),
    ],
)
def test_a_core_that_is_not_the_right_one(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], part: str
) -> None:
    monkeypatch.setattr(_core, "build_info", build(**changes))
    assert part in problem()


def test_a_clock_that_is_held_low(machine: Machine) -> None:
    folder = "sys/devices/system/cpu/cpu0/cpufreq"
    machine.write(f"{folder}/scaling_governor", "powersave")
    machine.write(f"{folder}/scaling_driver", "intel_pstate")
    assert diagnose(measure=False).problems == ()
    machine.write(f"{folder}/scaling_driver", "acpi-cpufreq")
    assert "lowest clock" in problem()


def test_a_busy_machine(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis.os, "getloadavg", lambda: (40.0, 0.0, 0.0))
    assert problem() == "other programs are running: the load is 40.0 on 64 hardware threads"


def test_little_memory(machine: Machine) -> None:
    machine.write("proc/meminfo", f"MemTotal: {4 << 20} kB\nMemAvailable: {1 << 19} kB")
    assert problem() == "only 0.54 GB of memory are left"
    machine.write("proc/meminfo", f"MemTotal: {4 << 20} kB\nMemAvailable: {2 << 20} kB")
    machine.memory("sys/fs/cgroup/app", 1 << 30, used=1 << 29, cache=0)
    (found,) = diagnose(measure=False).problems
    assert found.mend == "give the container more memory"


def test_packages(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["numpy>=99", "no-such-package>=1", "pytest>=1; extra == 'test'", "minijinja>=0.1"]
    monkeypatch.setattr(metadata, "requires", lambda name: wanted)
    found = diagnose(measure=False)
    assert set(found.packages) == {"numpy", "no-such-package", "minijinja"}
    assert [entry.mend for entry in found.problems] == ["pip install 'numpy>=99'", "pip install 'no-such-package>=1'"]


def test_a_full_disk(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = diagnosis.shutil._ntuple_diskusage(10**9, 10**9, 0)
    monkeypatch.setattr(diagnosis.shutil, "disk_usage", lambda path: usage)
    assert problem() == "only 0.00 GB are free where models are kept"


@pytest.mark.usefixtures("unprivileged")
def test_a_folder_that_cannot_be_written(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home := tmp_path / "home").mkdir(mode=0o500)
    monkeypatch.setenv("PYRUNTIME_HOME", str(home))
    assert problem() == f"models cannot be fetched: {home} is not writable"


def test_a_translated_python(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis.sys, "platform", "darwin")
    monkeypatch.setattr(diagnosis.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(pyruntime.system, "sysctl", {"sysctl.proc_translated": 1}.get)
    assert "runs translated" in problem()


def test_a_board_without_a_name_in_cpuinfo(machine: Machine) -> None:
    machine.write("proc/cpuinfo", "processor\t: 0\nCPU part\t: 0xd0b")
    machine.write("proc/device-tree/model", "A Board 5\0")
    assert diagnose(measure=False).cpu == "A Board 5"
