"""What this process may use of the machine: threads and memory, container limits included."""

from __future__ import annotations

import os
import sys
from pathlib import Path

MAX_THREADS = 1024  # that the core takes
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def default_threads() -> int:
    """Physical cores that the process may run on, at most its cgroup's quota of CPU time; at least 1."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores = {_core_of(cpu) for cpu in allowed}
    return max(1, min(len(cores), _quota_cpus() or len(cores)))


def _core_of(cpu: int) -> str:
    """A name shared by the hardware threads of one core: two of them on one core share its multipliers, and gain nothing."""
    siblings = _read(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"))
    return siblings or str(cpu)


def _quota_cpus() -> int | None:
    """CPUs that cgroup v2's cpu.max grants, rounded up (half a CPU still needs a thread)."""
    quotas = []
    for folder in _cgroups():
        quota, _, period = (_read(folder / "cpu.max") or "max").partition(" ")
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            quotas.append(max(1, -(-int(quota) // int(period))))
    return min(quotas, default=None)


def _cgroups() -> list[Path]:
    """Folders of this process's cgroup (v2) and of all above it: each limits it. In a container its own is often the root."""
    lines = (_read(_OWN_CGROUP) or "").splitlines()
    path = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    own = _CGROUPS / path
    return [own, *own.parents[: len(own.parts) - len(_CGROUPS.parts)]]


def available_memory() -> int | None:
    """Bytes that can be allocated without swapping: what is free, and what the cgroup's limit leaves. None if unknown."""
    limits = [n for n in (_free_memory(), _cgroup_memory()) if n is not None]
    return min(limits) if limits else None


def _free_memory() -> int | None:
    for line in (_read(Path("/proc/meminfo")) or "").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    if sys.platform == "darwin":  # what is free there is not worth asking: the system compresses and caches
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _cgroup_memory() -> int | None:
    left = []
    for folder in _cgroups():
        limit, used = _read(folder / "memory.max"), _read(folder / "memory.current")
        if limit and used and limit.isdigit() and used.isdigit():
            left.append(max(0, int(limit) - int(used) + _file_cache(folder)))
    return min(left, default=None)


def _file_cache(cgroup: Path) -> int:
    """Bytes of files that the kernel keeps and gives up when asked: reading a model leaves all of it there."""
    fields = dict(line.split() for line in (_read(cgroup / "memory.stat") or "").splitlines())
    return int(fields.get("active_file", 0)) + int(fields.get("inactive_file", 0))


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
