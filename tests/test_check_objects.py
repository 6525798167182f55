"""The check that .ci/run makes of objects compiled with instruction-set flags: it sees what it is for."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

problems = runpy.run_path(str(Path(__file__).parent.parent / "tools" / "check_objects.py"))["problems"]
TABLE = ("D", "pyruntime::kernels_avx2")


def test_its_table_and_nothing_else() -> None:
    assert problems("avx2", [TABLE, ("t", "pyruntime::(anonymous namespace)::dot(int)"), ("U", "memcpy")]) == []


@pytest.mark.parametrize(
    ("symbols", "problem"),
    [
        ([], "exports [], not its table alone"),
        ([("D", "pyruntime::kernels_scalar")], "exports ['pyruntime::kernels_scalar'], not its table alone"),
        ([TABLE, ("T", "pyruntime::dot(int)")], "not its table alone"),
        ([TABLE, ("W", "std::vector<int>::size() const")], "weak: std::vector<int>::size() const"),
        ([TABLE, ("V", "guard variable for lookup()::table")], "weak: guard variable for lookup()::table"),
        ([TABLE, ("u", "lookup()::table")], "weak: lookup()::table"),
        ([TABLE, ("U", "expf")], "calls expf"),
        ([TABLE, ("t", "_GLOBAL__sub_I__ZN9pyruntime12kernels_avx2E")], "static initializer: _GLOBAL__sub_I"),
    ],
)
def test_what_it_refuses(symbols: list[tuple[str, str]], problem: str) -> None:
    (found,) = problems("avx2", symbols)
    assert problem in found
