"""The generated parts of the documents are current, and what checks that would notice if they were not."""

from __future__ import annotations

import argparse
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pyruntime
from pyruntime import cli, errors
from pyruntime.__main__ import INTERRUPTED

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "tools" / "generate_docs.py"


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(sys, "path", list(sys.path))  # it puts the checkout first
    return runpy.run_path(str(SCRIPT))


def test_every_part_is_current() -> None:
    run = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True)
    assert (run.stdout, run.stderr, run.returncode) == ("", "", 0)


def test_a_part_is_replaced_and_nothing_else(generator: dict[str, Any]) -> None:
    begin, end, renewed = generator["BEGIN"], generator["END"], generator["renewed"]
    document = f"before\n{begin}\nold \\1\n{end}\nafter\n"
    assert renewed(document, "new \\1") == f"before\n{begin}\n\nnew \\1\n\n{end}\nafter\n"
    with pytest.raises(ValueError, match="0 generated parts"):
        renewed("no part", "new")


def test_every_argument_of_every_verb_is_there() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## pyruntime (\w+)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))
    assert set(sections) == set(cli.find_verbs())
    for verb, module in cli.find_verbs().items():
        for action in cli.verb_parser(verb, module)._actions:
            names = action.option_strings or [action.metavar or action.dest.upper()]
            assert action.help is argparse.SUPPRESS or all(str(name) in sections[verb] for name in names), action


def test_every_verb_has_json_or_says_why_not() -> None:
    for verb, module in cli.find_verbs().items():
        flags = cli.verb_parser(verb, module)._option_string_actions
        assert ("--json" in flags) != ("There is no `--json`: " in (module.__doc__ or "")), verb


def test_exit_codes() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    raised = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")}
    assert table == raised | {0, 2, INTERRUPTED}


def test_every_exported_name_is_there() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^## (\w+)$", text, re.MULTILINE)) == set(pyruntime.__all__) - {"__version__"}
    for name in set(pyruntime.__all__) - {"__version__"}:
        kind = getattr(pyruntime, name)
        for member, value in vars(kind).items() if isinstance(kind, type) else ():
            if not member.startswith("_") and (callable(value) or isinstance(value, property)):
                assert f"{name}.{member}" in text or f"| `{member}` |" in text, f"{name}.{member}"
