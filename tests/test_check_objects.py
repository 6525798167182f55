"""The check that .ci/run makes of the objects of a build: it sees what it is for."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

CHECK = runpy.run_path(str(Path(__file__).parent.parent / "tools" / "check_objects.py"))
problems, beyond_the_first_cpus = CHECK["problems"], CHECK["beyond_the_first_cpus"]
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


def listing(platform: str, *instructions: str) -> str:
    lines = [f"  {4 * i:x}:\t{instruction}" for i, instruction in enumerate(instructions)]
    return "\n".join(["", f"a.o:     file format {platform}", "", "0000000000000000 <f>:", *lines])


@pytest.mark.parametrize(
    ("platform", "instructions"),
    [
        ("elf64-x86-64", ["push   %rbp", "movaps %xmm0,%xmm1", "pshufd $0x1,%xmm0,%xmm1", "rep stos %al,%es:(%rdi)"]),
        ("elf64-x86-64", ["tzcnt  %eax,%eax", "xgetbv", "pextrw $0x1,%xmm0,%eax", "call   0 <vdot>"]),
        ("elf64-littleaarch64", ["fmadd\ts0, s1, s2, s0", "fcvt\ts0, h0", "fcvtl\tv0.4s, v0.4h", "fmov\tw0, h0"]),
    ],
)
def test_what_the_first_cpus_have(platform: str, instructions: list[str]) -> None:
    assert beyond_the_first_cpus(listing(platform, *instructions)) == []


@pytest.mark.parametrize(
    ("platform", "instruction", "name"),
    [
        ("elf64-x86-64", "haddps %xmm1,%xmm0", "haddps"),
        ("elf64-x86-64", "pshufb %xmm1,%xmm0", "pshufb"),
        ("elf64-x86-64", "roundss $0x9,%xmm0,%xmm0", "roundss"),
        ("elf64-x86-64", "popcnt %edi,%eax", "popcnt"),
        ("elf64-x86-64", "crc32b %sil,%eax", "crc32b"),
        ("elf64-x86-64", "shlx   %rsi,%rdi,%rax", "shlx"),
        ("elf64-x86-64", "vzeroupper", "vzeroupper"),
        ("elf64-x86-64", "vpdpbusd %zmm1,%zmm2,%zmm0", "vpdpbusd"),
        ("elf64-x86-64", "kmovw  %eax,%k1", "kmovw"),
        ("elf64-littleaarch64", "sdot\tv0.4s, v1.16b, v2.16b", "sdot"),
        ("elf64-littleaarch64", "smmla\tv0.4s, v1.16b, v2.16b", "smmla"),
        ("elf64-littleaarch64", "fadd\tv0.8h, v0.8h, v1.8h", "fadd"),
        ("elf64-littleaarch64", "fmadd\th0, h1, h2, h0", "fmadd"),
    ],
)
def test_what_came_later(platform: str, instruction: str, name: str) -> None:
    assert beyond_the_first_cpus(listing(platform, "nop", instruction)) == [f"newer than the platform: {name}"]


def test_the_build_is_for_no_machine_in_particular() -> None:
    root = Path(__file__).parent.parent
    built_by = [
        root / "CMakeLists.txt",
        root / "pyproject.toml",
        root / ".ci" / "run",
        *root.glob(".github/workflows/*"),
    ]
    assert not [str(path) for path in built_by if "march=native" in path.read_text(encoding="utf-8")]
