"""What the command line says beside the answer: notes, which --quiet keeps back, and progress, on a terminal alone."""

from __future__ import annotations

import os
import pty
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyte
import pytest
from cli_tools import TIMEOUT, Cli, Terminal, assert_one_line_error

from pyruntime.catalogue import entries, models_folder
from pyruntime.cli import progress as module
from pyruntime.cli import terminal
from pyruntime.cli.progress import Progress, told, until_first

COLUMNS = 80


class Screen:
    """A terminal that stderr writes to."""

    def __init__(self, master: int, columns: int) -> None:
        self._master = master
        self._screen = pyte.Screen(columns, 3)
        self._bytes = pyte.ByteStream(self._screen)

    def line(self) -> str:
        """The first line as it is shown now."""
        try:
            while data := os.read(self._master, 4096):
                self._bytes.feed(data)
        except BlockingIOError:
            pass  # that is all for now
        return str(self._screen.display[0]).rstrip()

    def cursor_line(self) -> int:
        self.line()
        return self._screen.cursor.y

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + TIMEOUT
        while text not in self.line():
            assert time.monotonic() < deadline, f"waited for {text!r}, saw {self.line()!r}"
            time.sleep(0.01)


@contextmanager
def on_screen(columns: int = COLUMNS) -> Iterator[Screen]:
    """With stderr on a terminal of so many columns. No fixture: pytest sets its own stderr between those and the test."""
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    termios.tcsetwinsize(slave, (3, columns))
    with open(slave, "w") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", stream)
        yield Screen(master, columns)
    os.close(master)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is shown from the beginning."""
    monkeypatch.setattr(module, "PATIENCE", 0.0)


@pytest.mark.usefixtures("at_once")
def test_what_takes_long_shows_how_far_it_is() -> None:
    done = 0
    with on_screen() as screen:
        with Progress("loading", lambda: (done, 8_000_000), "MB"):
            screen.wait_for("loading [--------------------]   0%  0 of 8 MB")
            done = 6_000_000
            screen.wait_for("loading [###############-----]  75%  6 of 8 MB")
        assert screen.line() == ""


@pytest.mark.usefixtures("at_once")
def test_what_tells_how_far_it_is() -> None:
    with on_screen() as screen:
        with told("measuring", "repetitions", 4) as tell:
            screen.wait_for("measuring [--------------------]   0%  0 of 4 repetitions")
            tell(1, 4)
            screen.wait_for("measuring [#####---------------]  25%  1 of 4 repetitions")
        assert screen.line() == ""


@pytest.mark.usefixtures("at_once")
def test_a_narrow_terminal_is_left_clean() -> None:
    with on_screen(columns=20) as screen:
        with Progress("reading", lambda: (1, 4), "tokens"):
            screen.wait_for("reading [#####-----")
        assert screen.line() == ""


def test_a_bar_wider_than_the_terminal_stays_on_its_line() -> None:
    with on_screen(columns=40) as screen:
        with terminal.FetchReport() as report:
            for done in (0, 2_500_000_000, 5_000_000_000):
                report.progress(done, 5_000_000_000)
        screen.wait_for("[##############################]")
        assert screen.cursor_line() == 1


def test_what_takes_no_second_shows_nothing() -> None:
    with on_screen() as screen:
        with Progress("loading", lambda: (1, 2), "MB"):
            assert screen.line() == ""
        assert screen.line() == ""


@pytest.mark.usefixtures("at_once")
def test_nothing_spins_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("loading", lambda: (1, 2), "MB"):
        time.sleep(0.05)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("at_once")
def test_nor_with_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "_quiet", True)
    with on_screen() as screen, Progress("loading", lambda: (1, 2), "MB"):
        time.sleep(0.05)
        assert screen.line() == ""


@pytest.mark.usefixtures("at_once")
def test_the_progress_ends_before_the_first_piece() -> None:
    with on_screen() as screen:

        def pieces() -> Iterator[str]:
            screen.wait_for("reading")
            yield "a"
            assert screen.line() == ""
            yield "b"

        shown = []
        for piece in until_first(pieces(), Progress("reading", lambda: (3, 4), "tokens")):
            assert screen.line() == ""
            shown.append(piece)
    assert shown == ["a", "b"]
    assert list(until_first([], Progress("reading", lambda: (0, 0), "tokens"))) == []


@pytest.mark.usefixtures("at_once")
def test_an_error_ends_the_progress() -> None:
    with on_screen() as screen:

        def pieces() -> Iterator[str]:
            screen.wait_for("reading")
            raise KeyboardInterrupt
            yield ""

        with pytest.raises(KeyboardInterrupt):
            next(until_first(pieces(), Progress("reading", lambda: (3, 4), "tokens")))
        assert screen.line() == ""


# --quiet


@pytest.mark.parametrize("flag", ["-q", "--quiet"])
def test_quiet_keeps_notes_back(cli: Cli, flag: str) -> None:
    many = str(os.cpu_count() or 1) + "0"
    assert "threads would wait" in cli.generate("say a", "--threads", many).err
    assert cli.generate("say a", "--threads", many, flag) == (0, "a\n", "")
    assert cli(flag, "generate", cli.model, "say a", "--threads", many) == (0, "a\n", "")
    assert "threads would wait" in cli.generate("say a", "--threads", many).err  # it holds for its own command alone


def test_quiet_keeps_no_error_back(cli: Cli) -> None:
    assert_one_line_error(cli.generate("fail GGUFError", "-q"), 3, "the GGUFError of")


def test_a_prompt_that_is_called_quiet(cli: Cli) -> None:
    assert cli.generate("--raw", "--", "-q") == (0, "<-q>\n", "")


def test_quiet_removes_without_a_word(cli: Cli) -> None:
    leftover = models_folder() / entries()[0].file
    leftover.parent.mkdir(parents=True, exist_ok=True)
    leftover.write_bytes(b"cut")
    assert cli("rm", "--leftovers", "-q") == (0, "", "")
    assert not leftover.exists()
    leftover.write_bytes(b"cut")
    assert "freed" in cli("rm", "--leftovers").err


def test_a_quiet_chat_has_no_greeting(model_file: Path) -> None:
    with Terminal("chat", str(model_file), "--quiet") as terminal:
        assert terminal.expect("> ") == ""
        assert terminal.ask("say hello") == "hello"
        terminal.type("/exit\n")
        assert terminal.exit_code() == 0
