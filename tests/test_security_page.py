"""docs/security.md: each promise has a test, and that test exists. And the promises whose tests belong nowhere else."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import tiny_gguf

import pyruntime
from pyruntime import files
from pyruntime.cli.chat import saved

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
PROMISES = PAGE.partition("\n## Promises\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of the rows of all tables, without heads and rules."""
    lines = [re.split(r" \| ", line.strip("| ")) for line in text.splitlines() if line.startswith("| ")]
    return [cells for cells in lines if cells[:2] != ["promise", "shown by"] and cells[:2] != ["who", "gives"]]


SECTIONS = {name: rows(body) for name, body in re.findall(r"^### (.+)\n((?:(?!^###).*\n?)*)", PROMISES, re.MULTILINE)}


@cache
def functions_of(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_there_are_promises_to_everyone_who_gives_something() -> None:
    givers = rows(PAGE.partition("\n## Promises\n")[0])
    linked = [re.findall(r"\]\(#([\w-]+)\)", cells[1]) for cells in givers]
    assert [anchor for (anchor,) in linked] == [name.lower().replace(" ", "-") for name in SECTIONS]
    assert all(SECTIONS.values())
    assert sum(map(len, SECTIONS.values())) >= 30


@pytest.mark.parametrize("section", SECTIONS)
def test_every_promise_names_tests_that_exist(section: str) -> None:
    for promise, shown_by in SECTIONS[section]:
        named = re.findall(r"`([^`]+)`", shown_by)
        assert named, promise
        assert ", ".join(f"`{name}`" for name in named) == shown_by
        for name in named:
            path, _, test = name.partition("::")
            assert test.startswith("test_")
            assert test in functions_of(path), f"{promise}: {name}"


def test_a_named_test_is_one_that_is_run() -> None:
    """No file that pytest would not collect, and none of them skipped whatever the machine."""
    named = set(re.findall(r"`(tests/[^`:]+)::", PAGE))
    assert len(named) > 10
    for path in named:
        assert Path(path).name.startswith("test_")
        assert not re.search(r"^@pytest\.mark\.skip\b", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def risky(source: str) -> list[str]:
    """What of a module could run what a file says."""
    tree = ast.parse(source)
    found = [
        name.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in [*node.names, *([ast.alias(node.module or "")] if isinstance(node, ast.ImportFrom) else [])]
        if name.name.split(".")[0] in ("pickle", "marshal", "shelve", "dill", "joblib", "yaml", "code")
    ]
    for name, call in calls(tree):
        if name in ("eval", "exec", "compile", "__import__", "os.system", "os.popen", "np.load", "np.memmap"):
            found.append(name)
        found += [f"{name}(shell=...)" for keyword in call.keywords if keyword.arg == "shell"]
    return found


def test_nothing_is_unpickled_evaluated_or_given_to_a_shell() -> None:
    modules = sorted((ROOT / "pyruntime").rglob("*.py"))
    assert len(modules) > 50
    assert {path.name: risky(path.read_text(encoding="utf-8")) for path in modules if risky(path.read_text())} == {}


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from marshal import loads", "eval('1')", "subprocess.run('a', shell=True)", "np.load(path)"],
)
def test_what_would_be_seen(source: str) -> None:
    assert len(risky(source)) == 1


@pytest.fixture
def open_umask() -> Iterator[None]:
    """New files are everybody's unless their maker says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.usefixtures("open_umask")
def test_what_is_saved_is_the_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "conversation.json"
    path.write_text("what was there before, for everybody")
    with files.replacing(path) as file:
        assert [mode(scratch) for scratch in tmp_path.iterdir() if scratch != path] == [0o600]
        file.write(b"{}")
    assert mode(path) == 0o600
    assert saved.replacing is files.replacing


@pytest.mark.usefixtures("open_umask")
def test_a_saved_session_is_the_users_alone(tmp_path: Path) -> None:
    with pyruntime.Model(tiny_gguf.write(tmp_path / "m.gguf"), threads=1, context=64) as model, model.session() as s:
        s.append([1, 2, 3])
        s.save(tmp_path / "s.session")
    assert mode(tmp_path / "s.session") == 0o600
