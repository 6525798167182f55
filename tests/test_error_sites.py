"""Every error that the readers of files can raise is raised by a test: the sites are found in the sources, and counted."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import error_sites
import pytest
from error_sites import Site

import pyruntime

TESTS = Path(__file__).parent
CORE = TESTS.parent / "csrc"
PACKAGE = Path(pyruntime.__file__).parent

# What reads files, and the tests of it.
PYTHON = ("arch/*.py", "plan/weights.py", "plan/operations/*.py", "session_file.py", "tokenizer/*.py")
PYTHON_TESTS = (
    "test_adding_a_model.py",
    "test_bad_*.py",
    "test_bpe.py",
    "test_plan.py",
    "families/test_metadata.py",
    "test_session_file.py",
    "test_tokenizer*.py",
)
CPP = ("gguf/*", "engine/weights.cpp", "engine/kv_pages.cpp", "bindings/gguf.cpp")
CPP_TESTS = ("test_bad_*.py", "test_gguf.py", "test_ops_refused.py", "test_session_file.py")

# These tests reach neither. Once they do, or the source changes, the list is wrong and the test fails.
UNREACHED = {
    'throw fail(t.offset, "a read past the end of its data was asked for")',  # by us; the harness gguf of tests/fuzz does
    "throw Interrupted()",  # by Ctrl-C; test_interrupt.py
    'throw std::length_error("Strings hold at most 4 GiB")',  # of Python's strings alone: a header takes 64 MiB
}


def files(folder: Path, patterns: Iterable[str]) -> list[Path]:
    found = {pattern: sorted(folder.glob(pattern)) for pattern in patterns}
    assert all(found.values()), found
    return [path for paths in found.values() for path in paths]


def run_tests(patterns: Iterable[str], *options: str, **environment: str) -> None:
    command = [sys.executable, "-P", "-m", "pytest", "-q", *options, *map(str, files(TESTS, patterns))]
    run = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=1200)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr


def unreached(sites: list[Site], reached: list[Site]) -> str:
    return "\n".join(str(site) for site in sites if site not in reached and site.source not in UNREACHED)


@pytest.mark.slow
def test_every_error_of_python(tmp_path: Path) -> None:
    sites = error_sites.python_sites(files(PACKAGE, PYTHON))
    assert len(sites) > 60
    options = ["-k", "not time_is_linear and not million", "-p", "error_sites", "--trace-errors", str(PACKAGE)]
    run_tests(PYTHON_TESTS, *options, "--errors-passed", str(tmp_path / "passed.json"))
    assert unreached(sites, error_sites.passed(tmp_path / "passed.json", sites)) == ""


@pytest.mark.slow
def test_every_error_of_the_core(tmp_path: Path) -> None:
    """Of the core built again by Clang, which counts what is executed. That takes two minutes."""
    missing = [
        tool for tool in ("clang++", "llvm-cov", "llvm-profdata", "cmake", "ninja") if shutil.which(tool) is None
    ]
    missing += [name for name in ("pybind11",) if find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    library = build_counting(tmp_path / "build")
    package = tmp_path / "counting" / "pyruntime"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("_core*.so", "__pycache__"))
    shutil.copy(library, package)

    sites = error_sites.core_sites(path for path in files(CORE, CPP) if not path.match("*_windows.cpp"))
    assert len(sites) > 50
    path = os.pathsep.join([str(package.parent), str(TESTS)])
    run_tests(CPP_TESTS, PYTHONPATH=path, LLVM_PROFILE_FILE=str(tmp_path / "%p.profraw"))
    reached = error_sites.executed(package / library.name, list(tmp_path.glob("*.profraw")), sites)
    assert unreached(sites, reached) == ""
    assert {site.source for site in sites} - {site.source for site in reached} == UNREACHED


def build_counting(folder: Path) -> Path:
    """With the scalar instruction set alone: the others are no readers of files."""
    import pybind11

    command = ["cmake", "-G", "Ninja", "-S", str(CORE.parent), "-B", str(folder), "-DCMAKE_BUILD_TYPE=None"]
    command += ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=generic", "-DCMAKE_CXX_COMPILER=clang++"]
    command += ["-DCMAKE_CXX_FLAGS=-O1 -fprofile-instr-generate -fcoverage-mapping"]
    command += [f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11.get_cmake_dir()}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", str(folder)], check=True, stdout=subprocess.DEVNULL)
    (library,) = folder.glob("_core*.so")
    return library


# The tool itself


def test_what_is_a_site_of_python_and_when_it_was_reached(tmp_path: Path) -> None:
    source = tmp_path / "reader.py"
    source.write_text(
        """\
def fail(what) -> NoReturn:
    raise ValueError(what)

def read(n):
    if n == 0:
        raise TypeError(
            "zero"
        )
    if n == 1:
        fail("one")
    if n == 2:
        raise NotImplementedError
    try:
        read(n - 1) if n > 3 else fail("three")
    except ValueError:
        raise
    raise wrong("three")

def wrong(what):
    return TypeError(what)
"""
    )
    sites = error_sites.python_sites([source])
    assert [(site.line, site.source) for site in sites] == [
        (2, "raise ValueError(what)"),
        (6, "raise TypeError('zero')"),
        (10, "fail('one')"),
        (14, "fail('three')"),
        (17, "raise wrong('three')"),
    ]
    tracer = error_sites.Tracer(str(tmp_path))
    read = runpy.run_path(str(source), {"NoReturn": None})["read"]
    tracer.start()
    try:
        for n in (0, 3):
            with pytest.raises((TypeError, ValueError)):
                read(n)
    finally:
        tracer.stop()
    (tmp_path / "passed.json").write_text(json.dumps(sorted(tracer.places)))
    assert [site.line for site in error_sites.passed(tmp_path / "passed.json", sites)] == [2, 6, 14]


def test_what_is_a_site_of_the_core(tmp_path: Path) -> None:
    source = tmp_path / "reader.cpp"
    source.write_text(
        """\
[[noreturn]] void fail(const char* what);
void Reader::fail(const char* what) { throw std::runtime_error(what); }  // throw Nothing()
/* fail("neither") */
void read(int n) {
    if (n == 0) reader.fail("a \\" throw x();");
    try {
        refail();
    } catch (...) {
        throw;
    }
    const auto wrong = [&](const char* what) { return Error(what); };
    if (n == 1)
        throw wrong("two "
                    "lines");
}
"""
    )
    sites = error_sites.core_sites([source])
    assert [(site.line, site.column, site.last_line, site.source) for site in sites] == [
        (2, 39, 2, "throw std::runtime_error(what)"),
        (5, 24, 5, 'fail("a \\" throw x();")'),
        (13, 9, 14, 'throw wrong("two " "lines")'),
    ]
