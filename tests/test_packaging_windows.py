"""What can be shown of Windows without one: the modules of POSIX that Python lacks there are asked for where they are needed
alone (docs/installing.md has what was not tried)."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import fake_model
import pytest

from pyruntime import files
from pyruntime.cli import main
from pyruntime.errors import UnsupportedError

POSIX_ALONE = ("fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty")


def test_a_terminals_modes_and_a_templates_limits_alone_need_modules_of_posix() -> None:
    code = f"""
import importlib, os, pkgutil, sys, warnings
import huggingface_hub.constants, subprocess, tempfile  # other people's, which have their own ways on Windows
for name in {POSIX_ALONE}: sys.modules[name] = None
import pyruntime
for module in pkgutil.walk_packages(pyruntime.__path__, "pyruntime."):
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        print(module.name, error.name)
"""
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.splitlines() == [
        "pyruntime.chat_template.worker resource",
        "pyruntime.cli.chat.modes termios",
        "pyruntime.cli.chat.typed termios",
    ]


def test_fetching_is_refused_where_files_cannot_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with (tmp_path / "lock").open("wb") as file, pytest.raises(UnsupportedError, match="give the path of a file"):
        files.lock(file, wait=False)


def test_a_chat_at_a_console_without_modes_reads_lines(
    model_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Console(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    monkeypatch.setitem(sys.modules, "termios", None)
    monkeypatch.setitem(sys.modules, "pyruntime.model", fake_model.module())
    monkeypatch.setattr(sys, "stdin", Console(io.BytesIO(b"hello\n/exit\n")))
    assert main(["chat", str(model_file)]) == 0
    assert "hello" in capsys.readouterr().out
