"""What `pyruntime generate` reads: PROMPT, --file and stdin."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_tools import SCRIPT, TIMEOUT, Cli, Terminal, assert_one_line_error, start

from pyruntime.cli import sources
from pyruntime.errors import shown_name


def test_a_piped_document_stands_before_the_prompt(cli: Cli) -> None:
    done = cli.generate("--raw", "Summarize.", stdin="A paper.\n é\n\n".encode())
    assert done == (0, "<A paper.\n é\n\n\nSummarize.>\n", "")


def test_a_file_stands_before_the_prompt_and_leaves_stdin_alone(cli: Cli, tmp_path: Path) -> None:
    paper = tmp_path / "paper.txt"
    paper.write_bytes("A päper.\r\n".encode())
    done = cli.generate("--raw", "Summarize.", "--file", str(paper), stdin=b"\xff")
    assert done == (0, "<A päper.\r\n\nSummarize.>\n", "")


def test_several_files_are_told_apart(cli: Cli, tmp_path: Path) -> None:
    a, b = tmp_path / "a.txt", tmp_path / "b\x1b.txt"
    a.write_text("text of a\n")
    b.write_text("text of b")
    done = cli.generate("--raw", "Which?", "--file", str(a), "--file", str(b), "--file", "-", stdin=b"text of c")
    assert done.out == f"<{a}:\ntext of a\n\n{shown_name(str(b))}:\ntext of b\n\nstdin:\ntext of c\n\nWhich?>\n"
    assert "\x1b" not in done.out


@pytest.mark.parametrize("prompt", [["-"], []])
def test_stdin_as_the_prompt_for_a_file(cli: Cli, tmp_path: Path, prompt: list[str]) -> None:
    (tmp_path / "a").write_text("text")
    done = cli.generate("--raw", *prompt, "--file", str(tmp_path / "a"), stdin=b"Summarize.\n")
    assert done == (0, "<text\n\nSummarize.>\n", "")


def test_a_file_alone(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("Once upon")
    assert cli.generate("--raw", "--file", str(tmp_path / "a")).out == "<Once upon>\n"
    assert cli.generate("--raw", "--file", "-", stdin=b"Once upon").out == "<Once upon>\n"


@pytest.mark.parametrize("empty", [b"", b"\n"])
def test_an_empty_stdin_is_no_document(cli: Cli, empty: bytes) -> None:
    assert cli.generate("--raw", "p", stdin=empty) == (0, "<p>\n", "")


def test_errors(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    latin, missing = str(tmp_path / "latin"), str(tmp_path / "miss\x1bing")
    assert_one_line_error(cli.generate("p", "--file", latin), 2, f"--file {latin} is not UTF-8: byte 0xe9 at 3")
    assert_one_line_error(cli.generate("p", "--file", missing), 2, "miss\\x1bing", "No such file or directory")
    assert_one_line_error(cli.generate("p", "--file", str(tmp_path)), 2, str(tmp_path), "Is a directory")
    assert_one_line_error(cli.generate("p", "--file", "a\0b"), 2, "--file", "null")
    assert_one_line_error(cli.generate("-", "--file", "-", stdin=b"x"), 2, "stdin cannot be the prompt and a file")
    assert_one_line_error(cli.generate("p", stdin=b"ab\xff"), 2, "stdin is not UTF-8: byte 0xff at 2")


def test_a_text_that_no_context_holds(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_BYTES", 3 << 20)
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate((3 << 20) + 1)
    assert_one_line_error(cli.generate("p", "--file", str(large)), 2, str(large), "more than 3 MB")


@pytest.mark.parametrize("closed", ["</dev/null", "<&-"])
def test_without_stdin(model_file: Path, closed: str) -> None:
    """As cron and CI run it."""
    command = f'exec "{sys.executable}" "{SCRIPT}" generate "{model_file}" "say hello" {closed}'
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=TIMEOUT)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello\n", b"")


def test_a_pipe_that_nobody_writes_to(model_file: Path) -> None:
    """It may be a slow one, so it is waited for, and this is said; it ends with the pipe."""
    read, write = os.pipe()
    with start("generate", str(model_file), "say hello", stdin=read) as process:
        os.close(read)
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"pyruntime: waiting for a text on stdin (")
        os.close(write)
        out, err = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, out, err) == (0, b"hello\n", b"")


def test_a_typed_prompt_for_files(model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("say so")
    with Terminal("generate", str(model_file), "--file", str(tmp_path / "a")) as terminal:
        assert terminal.expect("so\r\n") == ""
        assert terminal.exit_code() == 0
