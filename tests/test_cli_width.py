"""What the verbs print on a terminal breaks at words, at its width; in a pipe a row is a line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import terminal_command
import tiny_gguf
from cli_tools import TIMEOUT, Terminal
from terminal_screen import ScreenTerminal

from pyruntime.catalogue import entries
from pyruntime.cli.tables import cells, columns, paragraphs, wrapped

COLUMNS = 60


def on_screen(*argv: str, cwd: Path, columns: int = COLUMNS) -> list[str]:
    terminal = ScreenTerminal(*argv, script=terminal_command.__file__, lines=500, columns=columns, cwd=cwd)
    assert terminal.finish() == 0
    return terminal.screen.text


def in_a_pipe(*argv: str, cwd: Path) -> str:
    command = [sys.executable, "-m", "pyruntime", *argv]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=cwd, timeout=TIMEOUT).stdout


def words(lines: list[str]) -> list[str]:
    return " ".join(lines).split()


# The pieces


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (None, ["a  bc defgh ij"]),
        (14, ["a  bc defgh ij"]),
        (13, ["a  bc defgh", "  ij"]),
        (10, ["a  bc", "  defgh ij"]),
        (4, ["a", "  bc", "  defgh", "  ij"]),  # what is too long is not cut
        (1, ["a", "  bc", "  defgh", "  ij"]),
    ],
)
def test_wrapped(width: int | None, lines: list[str]) -> None:
    assert wrapped("a  bc defgh ij", width) == lines


def test_wrapped_after_a_head() -> None:
    assert wrapped("one two", 9, hang=4, head="h:  ") == ["h:  one", "    two"]
    assert wrapped("/a/long/path b", 9, hang=4, head="h:  ") == ["h:  /a/long/path", "    b"]
    assert wrapped("", 9, head="h") == ["h"]


def test_wide_characters_take_two_columns() -> None:
    assert cells("日本 e\u0301é") == 4 + 1 + 1 + 1
    assert wrapped("日本 日本 日本", 9) == ["日本 日本", "  日本"]
    assert columns([("日本", "a"), ("b", "c")]) == ["日本  a", "b     c"]


def test_paragraphs() -> None:
    rows = [("head", "one two three four five six"), ("h", "seven"), ("h", "eight")]
    assert paragraphs(rows, None) == ["head  one two three four five six", "h     seven", "      eight"]
    assert paragraphs(rows, 26) == ["head  one two three four", "      five six", "h     seven", "      eight"]
    assert paragraphs(rows, 12) == ["head  one", "  two three", "  four five", "  six", "h  seven", "eight"]


def test_columns() -> None:
    rows = [("name", "1 MB", "some words"), ("longer name", "10 MB", "and more words")]
    right = frozenset({1})
    wide = ["name          1 MB  some words", "longer name  10 MB  and more words"]
    assert columns(rows, right) == columns(rows, right, 34) == wide
    assert columns(rows, right, 33) == ["name         1 MB some words", "longer name 10 MB and more words"]
    narrow = ["name          1 MB", "  some words", "longer name  10 MB", "  and more words"]
    assert columns(rows, right, 31) == columns(rows, right, 18) == narrow
    assert columns(rows, right, 10)[-5:] == ["longer", "  name", "  10 MB", "  and more", "    words"]


# The verbs


def test_models(tmp_path: Path) -> None:
    shown = on_screen("models", cwd=tmp_path)
    piped = in_a_pipe("models", cwd=tmp_path)
    assert words(shown) == piped.split()
    assert max(map(len, shown)) <= COLUMNS < max(map(len, piped.splitlines()))
    assert len(piped.splitlines()) == 3 + len(entries())
    heads = [line.split()[0] for line in shown if re.match(r"  \S", line)]
    assert heads == ["nothing", *(entry.name for entry in entries())]
    assert on_screen("models", cwd=tmp_path, columns=200) == piped.splitlines()


def test_inspect(tmp_path: Path) -> None:
    metadata = {"general.name": "Tiny " * 20, "general.url": "https://example.com/" + 60 * "x"}
    tiny_gguf.write(tmp_path / "m.gguf", metadata=metadata)
    argv = ["inspect", "m.gguf", "--tensors", "--plan", "--ram", "1G"]
    shown, piped = on_screen(*argv, cwd=tmp_path), in_a_pipe(*argv, cwd=tmp_path)
    at = next(i for i, line in enumerate(shown) if "example.com" in line)
    assert len(shown[at]) == COLUMNS  # this word alone is longer than a line: the terminal breaks it
    shown[at : at + 2] = [shown[at] + shown[at + 1]]
    # Python's own memory differs from run to run.
    shown_text, piped_text = (re.sub(r"\d+\.\d MB", "MB", " ".join(text)) for text in (words(shown), piped.split()))
    assert shown_text == piped_text
    assert max(map(len, piped.splitlines())) > COLUMNS


def test_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYRUNTIME_HOME", "HF_HOME"):
        monkeypatch.setenv(name, "/none")
    shown = on_screen("doctor", "--no-measure", cwd=tmp_path)
    assert all(re.match(r"\w[\w ]{12} \S| {14}\S", line) for line in shown), shown
    assert any(line.startswith(" ") for line in shown)


def test_help_in_a_chat(model_file: Path) -> None:
    said = {}
    for width in (COLUMNS, 200):
        with ScreenTerminal("chat", str(model_file), lines=100, columns=width, cwd=model_file.parent) as chat:
            said[width] = chat.ask("/help").splitlines()
    assert words(said[COLUMNS]) == words(said[200])
    assert "                     system message" in said[COLUMNS]
    assert max(map(len, said[COLUMNS])) <= COLUMNS


def test_a_terminal_that_tells_no_width(tmp_path: Path) -> None:
    """As that of some containers: nothing is wrapped."""
    piped = in_a_pipe("models", cwd=tmp_path)
    *_, end = piped.splitlines()
    with Terminal("models", script=terminal_command.__file__, cwd=tmp_path) as terminal:
        assert (terminal.expect(end) + end).splitlines() == piped.splitlines()
