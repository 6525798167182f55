"""What this process may use of the machine: threads and memory, container limits included."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


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
    quota, _, period = (_read(_CGROUP / "cpu.max") or "max").partition(" ")
    if quota == "max" or not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return max(1, -(-int(quota) // int(period)))


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
    limit, used = _read(_CGROUP / "memory.max"), _read(_CGROUP / "memory.current")
    if limit is None or used is None or not limit.isdigit() or not used.isdigit():
        return None
    return max(0, int(limit) - int(used))


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
