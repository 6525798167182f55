"""The processors that this process may use, container limits included."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

MAX_THREADS = 1024  # that the core takes
ROOT = Path("/")  # of /proc and /sys
_EFFICIENT = 0.6  # of the largest capacity, or less: an efficiency core (those of ARM have 0.2 to 0.5)


@dataclass(frozen=True, slots=True)
class Processors:
    """Hardware threads of the machine and those that the process's affinity allows; physical cores of these, and those of
    them that are no efficiency cores; and the CPUs that the cgroup's quota grants, None without one."""

    online: int
    allowed: int
    cores: int
    fast_cores: int
    quota: float | None

    @property
    def threads(self) -> int:
        """How many threads are fastest. Two hardware threads of a core share its multipliers and gain nothing; an efficiency
        core lets all others wait at each barrier; half a CPU of quota still needs a thread."""
        granted = self.cores if self.quota is None else -int(-self.quota // 1)
        return max(1, min(self.fast_cores or self.cores, granted, MAX_THREADS))


def processors() -> Processors:
    """What there is now."""
    online = os.cpu_count() or 1
    if sys.platform == "darwin":
        cores = sysctl("hw.physicalcpu") or online
        return Processors(online, online, cores, sysctl("hw.perflevel0.physicalcpu") or cores, None)
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(online))
    cores = len({_core_of(cpu) for cpu in allowed})
    fast = len({_core_of(cpu) for cpu in allowed - _efficient(allowed)})
    return Processors(max(online, len(allowed)), len(allowed), cores, fast, _quota())


def default_threads() -> int:
    """Physical cores that the process may run on, without efficiency cores, at most its cgroup's quota of CPU time."""
    return processors().threads


def cgroups(controller: str) -> list[Path]:
    """Folders of this process's cgroup and of all above it, each of which limits it, for "cpu" or "memory".

    Version 2 has one tree, version 1 one for each controller. In a container the own folder is often the root, although the
    name is the one outside.
    """
    mounted = ROOT / "sys/fs/cgroup"
    folders: list[Path] = []
    for line in (read(ROOT / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        root = mounted / controller if controllers else mounted
        own = root.joinpath(*(part for part in name.split("/") if part not in ("", "..")))
        folders += [own, *own.parents[: len(own.parts) - len(root.parts)]]
    return folders


def read(path: Path) -> str | None:
    """A small file of the kernel's, stripped; None where there is none."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None


def _cpu(number: int) -> Path:
    return ROOT / f"sys/devices/system/cpu/cpu{number}"


def _core_of(cpu: int) -> str:
    """A name shared by the hardware threads of one core."""
    return read(_cpu(cpu) / "topology/thread_siblings_list") or str(cpu)


def _efficient(allowed: set[int]) -> set[int]:
    """CPUs that are efficiency cores: Intel's by the list of their kind, others by what the scheduler is told of them."""
    atoms = _parse_list(read(ROOT / "sys/devices/cpu_atom/cpus") or "")
    if atoms:
        return allowed & atoms
    capacities = {cpu: int(text) for cpu in allowed if (text := read(_cpu(cpu) / "cpu_capacity") or "").isdigit()}
    most = max(capacities.values(), default=0)
    return {cpu for cpu, capacity in capacities.items() if capacity <= _EFFICIENT * most}


def _parse_list(text: str) -> set[int]:
    """CPUs of a list as the kernel writes them: "0-3,8"."""
    cpus: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit():
            cpus.update(range(int(first), min(int(last or first), int(first) + 4096) + 1))
    return cpus


def _quota() -> float | None:
    """CPUs that the cgroups grant: the tightest quota over its period."""
    grants = []
    for folder in cgroups("cpu"):
        quota, _, period = (read(folder / "cpu.max") or "").partition(" ")
        if not quota:
            quota, period = read(folder / "cpu.cfs_quota_us") or "", read(folder / "cpu.cfs_period_us") or ""
        if quota.isdigit() and period.isdigit() and int(quota) > 0 and int(period) > 0:
            grants.append(int(quota) / int(period))
    return min(grants, default=None)


def sysctl(name: str) -> int | None:
    """A number of macOS's; None if it has none of that name."""
    import ctypes

    value, size = ctypes.c_uint64(0), ctypes.c_size_t(8)  # zeroed: a number of 4 bytes fills the lower half
    failed = ctypes.CDLL(None).sysctlbyname(
        name.encode(), ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)
    )
    return None if failed else value.value
