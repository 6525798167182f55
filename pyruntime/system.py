"""The processors that this process may use, container limits included."""

from __future__ import annotations

import os
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
    siblings = read(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"))
    return siblings or str(cpu)


def _quota_cpus() -> int | None:
    """CPUs that cgroup v2's cpu.max grants, rounded up (half a CPU still needs a thread)."""
    quotas = []
    for folder in cgroups():
        quota, _, period = (read(folder / "cpu.max") or "max").partition(" ")
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            quotas.append(max(1, -(-int(quota) // int(period))))
    return min(quotas, default=None)


def cgroups() -> list[Path]:
    """Folders of this process's cgroup (v2) and of all above it: each limits it. In a container its own is often the root."""
    lines = (read(_OWN_CGROUP) or "").splitlines()
    path = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    own = _CGROUPS / path
    return [own, *own.parents[: len(own.parts) - len(_CGROUPS.parts)]]


def read(path: Path) -> str | None:
    """A small file of the kernel's, stripped; None where there is none."""
    try:
        return path.read_text().strip()
    except OSError:
        return None
