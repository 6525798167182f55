"""The memory that this process may use, container limits included."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pyruntime import system
from pyruntime.system import cgroups, read

_UNLIMITED = 1 << 62  # what version 1 of cgroups writes without a limit is near 2**63


def available_memory() -> int | None:
    """Bytes that can be allocated without swapping: what is free, and what the cgroup's limit leaves. None if unknown."""
    group = cgroup_memory()
    limits = [n for n in (_free_memory(), group and group[1]) if n is not None]
    return min(limits) if limits else None


def total_memory() -> int | None:
    """Bytes of memory that the machine has."""
    total = _field(system.ROOT / "proc/meminfo", "MemTotal:")
    if total is None and hasattr(os, "sysconf"):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return total


def resident_memory() -> int:
    """Bytes of memory that this process has now; 0 if unknown."""
    pages = (read(Path("/proc/self/statm")) or "").split()
    if len(pages) > 1:
        return int(pages[1]) * os.sysconf("SC_PAGE_SIZE")
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # its peak, in bytes: a little more than it has
    return 0


def hold_to(n_bytes: int, threads: int) -> None:
    """Has the system refuse allocations (MemoryError) that would bring this process above n_bytes, for the rest of its life.

    The memory plan keeps below that by itself; this is for what it cannot know. Linux counts what is allocated, touched or
    not, so the stacks of the threads to come are added.
    """
    used = _field(Path("/proc/self/status"), "VmData:")
    if used is None:  # macOS does not hold a process to such a limit
        return
    import resource
    import threading

    stack = threading.stack_size() or max(8 << 20, resource.getrlimit(resource.RLIMIT_STACK)[0])
    limit = used + max(0, n_bytes - resident_memory()) + threads * stack
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _field(path: Path, name: str) -> int | None:
    """Bytes of a line `NAME 123 kB` of a file of /proc."""
    for line in (read(path) or "").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return None


def _free_memory() -> int | None:
    if (free := _field(system.ROOT / "proc/meminfo", "MemAvailable:")) is not None:
        return free
    if sys.platform == "darwin":  # what is free there is not worth asking: the system compresses and caches
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def cgroup_memory() -> tuple[int, int] | None:
    """(limit, what it leaves) of the cgroup that leaves the least, in bytes; None without a limit."""
    limits = []
    for folder in cgroups("memory"):
        limit, used = read(folder / "memory.max"), read(folder / "memory.current")
        if limit is None:
            limit, used = read(folder / "memory.limit_in_bytes"), read(folder / "memory.usage_in_bytes")
        if limit and used and limit.isdigit() and used.isdigit() and int(limit) < _UNLIMITED:
            limits.append((int(limit), max(0, int(limit) - int(used) + _file_cache(folder))))
    return min(limits, key=lambda pair: pair[1], default=None)


def _file_cache(cgroup: Path) -> int:
    """Bytes of files that the kernel keeps and gives up when asked: reading a model leaves all of it there."""
    fields = dict(line.split(maxsplit=1) for line in (read(cgroup / "memory.stat") or "").splitlines() if " " in line)
    whole = "total_" if "total_active_file" in fields else ""  # version 1 tells those below apart
    found = [fields.get(f"{whole}{name}_file", "0") for name in ("active", "inactive")]
    return sum(int(text) for text in found if text.isdigit())
