"""The places in source files where an error is raised, and which of them a run of pytest came to.

In Python such a site is a `raise` of something, or a call of a function that returns NoReturn. A tracer sees exceptions
pass: `pytest -p error_sites --trace-errors FOLDER --errors-passed FILE` writes where.

In C++ it is a `throw` of something, or a call of a [[noreturn]] function. Clang's coverage says how often each was executed:
it counts statements, where gcov counts lines, of which `if (bad) throw ...` is one.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

_SHOWN = 120  # characters of a site's source


class Site(NamedTuple):
    """A statement or a call: where it begins, its last line, its source. Lines and columns count from 1."""

    path: Path
    line: int
    column: int
    last_line: int
    source: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.source[:_SHOWN]}"


# Python


def python_sites(paths: Iterable[Path]) -> list[Site]:
    """Functions that return NoReturn are known by their names, whichever of the files they are in. NotImplementedError is
    no site: no input leads there."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    functions = (node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    never = {node.name for node in functions if node.returns is not None and ast.unparse(node.returns) == "NoReturn"}
    return sorted(
        Site(path, node.lineno, node.col_offset + 1, node.end_lineno or node.lineno, ast.unparse(node))
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if _raises(node) or (isinstance(node, ast.Call) and _name(node.func) in never)
    )


def _raises(node: ast.AST) -> bool:
    return isinstance(node, ast.Raise) and node.exc is not None and _name(node.exc) != "NotImplementedError"


def _name(node: ast.expr) -> str:
    return str(getattr(node, "attr", getattr(node, "id", "")))


def passed(path: Path, sites: Iterable[Site]) -> list[Site]:
    """Those that a run with the plugin came to; `path` is the file that it wrote."""
    places = {(file, line) for file, line in json.loads(path.read_text())}
    return [s for s in sites if any((str(s.path), line) in places for line in range(s.line, s.last_line + 1))]


class Tracer:
    """Notes, in functions of files under `folder`, the lines on which an exception was raised or went by."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.places: set[tuple[str, int]] = set()

    def start(self) -> None:
        threading.settrace(self._enter)
        sys.settrace(self._enter)

    def stop(self) -> None:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]

    def _enter(self, frame: FrameType, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(self._folder):
            return None
        frame.f_trace_lines = False
        return self._note

    def _note(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "exception":
            self.places.add((frame.f_code.co_filename, frame.f_lineno))
        return self._note


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--trace-errors", metavar="FOLDER", help="note where exceptions pass in its Python files")
    parser.addoption("--errors-passed", metavar="FILE", help="where to write them, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    if folder := config.getoption("--trace-errors"):
        tracer = config.stash[_TRACER] = Tracer(folder)
        tracer.start()


def pytest_unconfigure(config: pytest.Config) -> None:
    if tracer := config.stash.get(_TRACER, None):
        tracer.stop()
        Path(config.getoption("--errors-passed")).write_text(json.dumps(sorted(tracer.places)))


_TRACER = pytest.StashKey[Tracer]()

# C++

# Comments and literals, which are blanked; the name of a function that never returns; what raises.
_NO_CODE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'', re.DOTALL)
_NEVER = re.compile(r"\[\[noreturn\]\]\s+(?:\w+\s+)*?void\s+(\w+)\(")
_THROW = r"\bthrow\s+[\w:]+\("


def core_sites(paths: Iterable[Path]) -> list[Site]:
    """[[noreturn]] functions are known by their names, whichever of the files they are in."""
    sources = {path: path.read_text(encoding="utf-8") for path in paths}
    code = {path: _NO_CODE.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), source) for path, source in sources.items()}
    never = {name for text in code.values() for name in _NEVER.findall(text)}
    calls = rf"(?<!void )(?<!::)\b(?:{'|'.join(sorted(never))})\(" if never else r"(?!)"
    sites = []
    for path, text in code.items():
        for found in re.finditer(rf"{_THROW}|{calls}", text):
            start, end = found.start(), text.index(";", found.start())
            line = text.count("\n", 0, start) + 1
            column = start - text.rfind("\n", 0, start)
            last = line + text.count("\n", start, end)
            sites.append(Site(path, line, column, last, " ".join(sources[path][start:end].split())))
    return sites


def executed(library: Path, profiles: list[Path], sites: list[Site]) -> list[Site]:
    """Those that were executed at least once, by the profiles that runs of `library` left. It was built by Clang with
    -fprofile-instr-generate -fcoverage-mapping; llvm-profdata and llvm-cov are of the same version."""
    merged = profiles[0].with_name("merged.profdata")
    subprocess.run(["llvm-profdata", "merge", "-o", merged, *profiles], check=True)
    paths = sorted({str(site.path) for site in sites})
    command = ["llvm-cov", "export", "-format=text", f"-instr-profile={merged}", library, *paths]
    export = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    segments = {Path(file["filename"]): file["segments"] for file in export["data"][0]["files"]}
    return [site for site in sites if _count(segments[site.path], site.line, site.column) > 0]


def _count(segments: list[list[Any]], line: int, column: int) -> int:
    """How often what stands there was executed. A segment is line, column, count, whether it has one, ...; up to the next."""
    before = [s for s in segments if (s[0], s[1]) <= (line, column)]
    assert before, f"no code at {line}:{column}"
    assert before[-1][3], f"no counter at {line}:{column}"
    return int(before[-1][2])
