"""What a process may use, on machines that are a folder with a /proc and a /sys: cores, quotas, limits, and what the
kernel's file cache would give back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pyruntime import memory, system
from pyruntime.system import Processors, default_threads, processors

GB = 1 << 30
OWN = "sys/fs/cgroup/app/model"


class Machine:
    """A machine with 16 cores, 64 GB, and the process in the cgroup /app/model of version 2, which has no limits yet."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._root = root
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(system, "ROOT", root)
        monkeypatch.setattr(system.sys, "platform", "linux")
        monkeypatch.setattr(system.os, "cpu_count", lambda: 64)
        self.allow(range(16))
        self.write("proc/meminfo", f"MemTotal: {80 << 20} kB\nMemFree: 1 kB\nMemAvailable:   {64 << 20} kB")
        self.write("proc/self/cgroup", "0::/app/model")

    def write(self, path: str, text: str) -> None:
        file = self._root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def allow(self, cpus: range | set[int]) -> None:
        """The affinity of the process."""
        self._monkeypatch.setattr(system.os, "sched_getaffinity", lambda pid: set(cpus), raising=False)

    def siblings(self, lists: Mapping[int, str]) -> None:
        for cpu, text in lists.items():
            self.write(f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", text)

    def memory(self, folder: str, limit: int | str, used: int, cache: int) -> None:
        """Limits of a cgroup of version 2."""
        self.write(f"{folder}/memory.max", str(limit))
        self.write(f"{folder}/memory.current", str(used))
        stat = f"anon {used - cache}\nfile {cache}\ninactive_file {cache // 4}\nactive_file {cache - cache // 4}"
        self.write(f"{folder}/memory.stat", stat)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


# Cores


def test_a_machine_that_tells_nothing(machine: Machine) -> None:
    assert processors() == Processors(online=64, allowed=16, cores=16, fast_cores=16, quota=None)
    assert default_threads() == 16
    assert memory.available_memory() == 64 * GB
    assert memory.total_memory() == 80 * GB


def test_hardware_threads_of_one_core_count_once(machine: Machine) -> None:
    machine.siblings({cpu: f"{cpu % 8},{cpu % 8 + 8}" for cpu in range(16)})
    assert processors() == Processors(online=64, allowed=16, cores=8, fast_cores=8, quota=None)


def test_affinity(machine: Machine) -> None:
    """taskset -c 0,1,8: two hardware threads of one core, and one of another."""
    machine.siblings({cpu: f"{cpu % 8},{cpu % 8 + 8}" for cpu in range(16)})
    machine.allow({0, 1, 8})
    assert processors() == Processors(online=64, allowed=3, cores=2, fast_cores=2, quota=None)


def test_a_laptop_of_intels_with_efficiency_cores(machine: Machine) -> None:
    """Four performance cores with two hardware threads each, eight efficiency cores with one."""
    machine.siblings({cpu: f"{cpu & ~1}-{cpu | 1}" for cpu in range(8)} | {cpu: str(cpu) for cpu in range(8, 16)})
    machine.write("sys/devices/cpu_core/cpus", "0-7")
    machine.write("sys/devices/cpu_atom/cpus", "8-15")
    assert processors() == Processors(online=64, allowed=16, cores=12, fast_cores=4, quota=None)
    assert default_threads() == 4
    machine.allow(range(8, 16))  # where only efficiency cores are allowed, they are what there is
    assert default_threads() == 8


@pytest.mark.parametrize(
    ("capacities", "fast"),
    [
        ([446] * 4 + [1024] * 4, 4),  # A55 and A76
        ([160] * 4 + [498] * 2 + [1024] * 2, 2),  # three kinds
        ([1024] * 8, 8),
        ([720] * 4 + [1024] * 4, 8),  # another clock, no other kind of core
        ([0] * 8, 8),
    ],
)
def test_a_board_with_small_cores(machine: Machine, capacities: list[int], fast: int) -> None:
    machine.allow(range(8))
    for cpu, capacity in enumerate(capacities):
        machine.write(f"sys/devices/system/cpu/cpu{cpu}/cpu_capacity", str(capacity))
    assert (processors().cores, default_threads()) == (8, fast)


@pytest.mark.parametrize("text", ["", "x", "8-", "-3", "0-99999999999999", "8,,9-x"])
def test_a_list_of_cpus_that_is_none(machine: Machine, text: str) -> None:
    machine.write("sys/devices/cpu_atom/cpus", text)
    assert 1 <= default_threads() <= 16


def test_a_mac(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system.sys, "platform", "darwin")
    told = {"hw.physicalcpu": 10, "hw.perflevel0.physicalcpu": 8}
    monkeypatch.setattr(system, "sysctl", told.get)
    assert processors() == Processors(online=64, allowed=64, cores=10, fast_cores=8, quota=None)
    del told["hw.perflevel0.physicalcpu"]  # Intel's
    assert default_threads() == 10


def test_no_more_threads_than_the_core_takes(machine: Machine) -> None:
    machine.allow(range(4096))
    assert default_threads() == system.MAX_THREADS


# Quotas


def test_the_tightest_quota_on_the_way_up_counts(machine: Machine) -> None:
    machine.write(f"{OWN}/cpu.max", "max 100000")
    machine.write("sys/fs/cgroup/app/cpu.max", "250000 100000")
    machine.write("sys/fs/cgroup/cpu.max", "400000 100000")
    assert processors().quota == 2.5
    assert default_threads() == 3


def test_half_a_cpu_is_a_thread(machine: Machine) -> None:
    machine.write(f"{OWN}/cpu.max", "50000 100000")
    assert default_threads() == 1


@pytest.mark.parametrize("text", ["", "0 0", "50000 0", "many 100000", "50000", "-1 100000"])
def test_a_quota_that_says_nothing(machine: Machine, text: str) -> None:
    machine.write(f"{OWN}/cpu.max", text)
    assert default_threads() == 16


@pytest.mark.parametrize("name", ["/docker/0123", "/"])  # as it is outside of the container, and inside
def test_version_1_of_cgroups(machine: Machine, name: str) -> None:
    """In a container its own folder is the root that it sees."""
    machine.write("proc/self/cgroup", f"5:memory:{name}\n4:cpu,cpuacct:{name}\n1:name=systemd:{name}")
    machine.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "350000")
    machine.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")
    machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", str(4 * GB))
    machine.write("sys/fs/cgroup/memory/memory.usage_in_bytes", str(3 * GB))
    stat = f"active_file 0\ninactive_file 0\ntotal_active_file {GB}\ntotal_inactive_file {GB}"
    machine.write("sys/fs/cgroup/memory/memory.stat", stat)
    assert default_threads() == 4
    assert memory.available_memory() == 3 * GB
    assert memory.cgroup_memory() == (4 * GB, 3 * GB)


def test_version_1_without_limits(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "5:memory:/a\n4:cpu,cpuacct:/a")
    machine.write("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1")
    machine.write("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000")
    machine.write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712")
    machine.write("sys/fs/cgroup/memory/a/memory.usage_in_bytes", str(3 * GB))
    assert default_threads() == 16
    assert memory.available_memory() == 64 * GB


@pytest.mark.parametrize("name", ["/../../elsewhere", "/..", ""])
def test_a_cgroup_outside_of_what_is_mounted(machine: Machine, name: str) -> None:
    machine.write("proc/self/cgroup", f"0::{name}")
    machine.write("sys/fs/cgroup/cpu.max", "200000 100000")
    assert default_threads() == 2


# Memory


def test_cached_files_do_not_use_memory_up(machine: Machine) -> None:
    """A model that has just been read lies in the cache of the cgroup; the next one to load pushes it out."""
    machine.memory(OWN, 4 * GB, used=4 * GB, cache=3 * GB)
    assert memory.available_memory() == 3 * GB


def test_the_tightest_cgroup_on_the_way_up_counts(machine: Machine) -> None:
    machine.memory(OWN, "max", used=1 * GB, cache=0)
    machine.memory("sys/fs/cgroup/app", 8 * GB, used=2 * GB, cache=0)
    machine.memory("sys/fs/cgroup", 32 * GB, used=4 * GB, cache=0)
    assert memory.available_memory() == 6 * GB
    assert memory.cgroup_memory() == (8 * GB, 6 * GB)


def test_a_cgroup_beyond_its_limit_has_nothing(machine: Machine) -> None:
    machine.memory(OWN, 1 * GB, used=2 * GB, cache=0)
    assert memory.available_memory() == 0


@pytest.mark.parametrize("stat", ["", "nonsense", "active_file\ninactive_file x"])
def test_a_cgroup_that_does_not_tell_of_its_files(machine: Machine, stat: str) -> None:
    machine.memory(OWN, 4 * GB, used=GB, cache=0)
    machine.write(f"{OWN}/memory.stat", stat)
    assert memory.available_memory() == 3 * GB


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to it")
def test_a_process_that_is_held_to_a_limit() -> None:
    script = """
import numpy as np
from pyruntime.memory import hold_to, resident_memory
hold_to(resident_memory() + (200 << 20), threads=2)
kept = np.ones(100 << 20, np.uint8)
try:
    np.ones(300 << 20, np.uint8)
except MemoryError:
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("refused\n", "")
