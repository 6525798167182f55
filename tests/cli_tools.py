"""Ways to run the command line with the model of fake_model.py: in this process, in a pipe, on a terminal."""

import fcntl
import io
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import fake_model
import pytest

from pyruntime.cli import main

SCRIPT = str(Path(fake_model.__file__))
TIMEOUT = 60  # seconds; for what takes milliseconds

# By the name of an error of pyruntime.errors: what the command line returns.
EXIT_CODES = {
    "PyruntimeError": 1,
    "GGUFError": 3,
    "SessionFileError": 3,
    "MemoryLimitError": 4,
    "UnsupportedError": 5,
    "ContextError": 1,
    "NumericsError": 1,
    "TemplateError": 1,
    "FetchError": 1,
}


class Done(NamedTuple):
    code: int
    out: str
    err: str


class Cli:
    """`main()` in this process, with a file that the fake model opens."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.model = str(path)
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def __call__(self, *argv: str, stdin: bytes = b"") -> Done:
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main(argv)
        return Done(code, *self._capsys.readouterr())

    def generate(self, *argv: str, stdin: bytes = b"") -> Done:
        return self("generate", self.model, *argv, stdin=stdin)

    def chat(self, stdin: str, *argv: str) -> Done:
        return self("chat", self.model, *argv, stdin=stdin.encode())


def assert_one_line_error(done: Done, code: int, *parts: str) -> None:
    assert done.code == code
    assert done.err.startswith("pyruntime: ")
    assert done.err.endswith("\n")
    assert done.err.count("\n") == 1
    for part in parts:
        assert part in done.err


@contextmanager
def running(command: list[str], **kwargs: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """The process, killed in the end: a test that failed must not wait for it."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **(pipes | kwargs)) as process:
        try:
            yield process
        finally:
            process.kill()


def start(*argv: str, **kwargs: Any) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    """The command line with the fake model, in another process."""
    return running([sys.executable, SCRIPT, *argv], **kwargs)


class Terminal:
    """The command line on a pseudo-terminal: what a person types, and waits to see."""

    def __init__(self, *argv: str, script: str = SCRIPT, size: tuple[int, int] | None = None, **kwargs: Any) -> None:
        """size: lines and columns."""
        self._master, slave = pty.openpty()
        if size:
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", *size, 0, 0))
        streams = {"stdin": slave, "stdout": slave, "stderr": slave, "env": os.environ | {"TERM": "dumb"}}
        self._running = running([sys.executable, script, *argv], start_new_session=True, **(streams | kwargs))
        self.process = self._running.__enter__()
        os.close(slave)
        self._seen = ""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *error: Any) -> None:
        self._running.__exit__(*error)
        os.close(self._master)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def ctrl_c_at_prompt(self) -> None:
        """Ctrl-C once the process sleeps: input() misses one that comes between showing its prompt and waiting."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        deadline = time.monotonic() + TIMEOUT
        while stat.exists() and stat.read_text().rpartition(") ")[2][0] != "S":
            assert time.monotonic() < deadline
        self.type("\x03")

    def expect(self, text: str) -> str:
        """What came until `text`, without it."""
        while text not in self._seen:
            self._read(f"waited for {text!r}")
        before, _, self._seen = self._seen.partition(text)
        return before

    def ask(self, line: str) -> str:
        """Type a line at the prompt; what comes after its echo, up to the next prompt."""
        self.type(f"{line}\n")
        self.expect(f"{line}\r\n")
        return self.expect("\r\n> ")

    def exit_code(self) -> int:
        return self.process.wait(TIMEOUT)

    def _read(self, why: str) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not select.select([self._master], [], [], 1)[0]:
            assert time.monotonic() < deadline, f"{why}, saw {self._seen!r}"
        try:
            self._seen += os.read(self._master, 4096).decode()
        except OSError:  # Linux: every end of the terminal is closed
            pytest.fail(f"{why}, saw {self._seen!r} and the end")
