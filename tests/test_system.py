"""What a process may use: the limits of its cgroup and of those above it, and what the kernel's file cache would give back."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyruntime import memory as memory_module
from pyruntime import system

GB = 1 << 30


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of this process's cgroup, /app/model, in a tree of its own. It has no limits yet."""
    root = tmp_path / "cgroup"
    own = root / "app" / "model"
    own.mkdir(parents=True)
    (tmp_path / "self").write_text("1:name=systemd:/elsewhere\n0::/app/model\n")
    monkeypatch.setattr(system, "_CGROUPS", root)
    monkeypatch.setattr(system, "_OWN_CGROUP", tmp_path / "self")
    monkeypatch.setattr(memory_module, "_free_memory", lambda: 64 * GB)
    monkeypatch.setattr(system, "_core_of", str)
    monkeypatch.setattr(system.os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    return own


def memory(folder: Path, limit: int | str, used: int, cache: int) -> None:
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(
        f"anon {used - cache}\nfile {cache}\ninactive_file {cache // 4}\nactive_file {cache - cache // 4}\n"
    )


def test_no_limit(cgroup: Path) -> None:
    assert memory_module.available_memory() == 64 * GB
    assert system.default_threads() == 16


def test_cached_files_do_not_use_memory_up(cgroup: Path) -> None:
    """A model that has just been read lies in the cache of the cgroup; the next one to load pushes it out."""
    memory(cgroup, 4 * GB, used=4 * GB, cache=3 * GB)
    assert memory_module.available_memory() == 3 * GB


def test_the_tightest_cgroup_on_the_way_up_counts(cgroup: Path) -> None:
    memory(cgroup, "max", used=1 * GB, cache=0)
    memory(cgroup.parent, 8 * GB, used=2 * GB, cache=0)
    memory(cgroup.parent.parent, 32 * GB, used=4 * GB, cache=0)
    (cgroup / "cpu.max").write_text("max 100000\n")
    (cgroup.parent / "cpu.max").write_text("250000 100000\n")
    assert memory_module.available_memory() == 6 * GB
    assert system.default_threads() == 3  # two and a half CPUs


def test_a_cgroup_beyond_its_limit_has_nothing(cgroup: Path) -> None:
    memory(cgroup, 1 * GB, used=2 * GB, cache=0)
    assert memory_module.available_memory() == 0


@pytest.mark.parametrize("text", ["", "0 0\n", "50000 0\n", "many 100000\n", "50000\n"])
def test_a_quota_that_says_nothing(cgroup: Path, text: str) -> None:
    (cgroup / "cpu.max").write_text(text)
    assert system.default_threads() == 16


def test_half_a_cpu_is_a_thread(cgroup: Path) -> None:
    (cgroup / "cpu.max").write_text("50000 100000\n")
    assert system.default_threads() == 1
