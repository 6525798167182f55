"""What the command line makes of its streams: encodings, closed and full ones, control characters, Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import fake_model
import pytest
from cli_tools import SCRIPT, TIMEOUT, start

from pyruntime.cli.terminal import printable


def test_printable() -> None:
    assert printable(fake_model.CONTROLS) == "a[31mbc\td\n"
    assert "".join(map(printable, fake_model.CONTROLS)) == printable(fake_model.CONTROLS)
    assert printable(fake_model.UNICODE) == "é🙂"
    everything = "".join(map(chr, range(0x3000)))
    assert set(everything) - set(printable(everything)) == {*map(chr, [*range(32), *range(0x7F, 0xA0)])} - {*"\n\t"}


def test_a_pipe_gets_the_text_as_it_is(model_file: Path) -> None:
    with start("generate", str(model_file), "controls") as process:
        assert process.communicate(timeout=TIMEOUT) == (fake_model.CONTROLS.encode(), b"")


def test_utf8_whatever_the_locale(model_file: Path) -> None:
    foreign = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"}
    with start("generate", str(model_file), "unicode", env=os.environ | foreign) as process:
        assert process.communicate(timeout=TIMEOUT) == ((fake_model.UNICODE + "\n").encode(), b"")


def test_answers_come_as_they_are_made(model_file: Path) -> None:
    with start("chat", str(model_file), stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for word in (b"one\n", b"two\n"):
            process.stdin.write(b"say " + word)
            process.stdin.flush()
            assert process.stdout.readline() == word
        process.stdin.close()
        assert process.wait(TIMEOUT) == 0


@pytest.mark.parametrize("verb", ["generate", "chat"])
def test_reader_that_leaves(model_file: Path, verb: str) -> None:
    with start(verb, str(model_file), stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"forever\n")
        process.stdin.close()
        assert process.stdout.read(5) == b"tick "
        process.stdout.close()
        assert process.stderr.read() == b"ticking\n"
        assert process.wait(TIMEOUT) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, which Linux has")
@pytest.mark.parametrize("unbuffered", ["", "1"])  # the error comes with the last flush, or with the first write
@pytest.mark.parametrize(
    "argv",
    [
        ["generate", "MODEL", "say hello"],
        ["--help"],
        ["chat", "--help"],
        ["--version"],
        ["models"],
        ["completion", "zsh"],
    ],
    ids=" ".join,
)
def test_stdout_on_a_full_disk(model_file: Path, argv: list[str], unbuffered: str) -> None:
    argv = [str(model_file) if word == "MODEL" else word for word in argv]
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "wb") as full, start(*argv, stdout=full, env=env) as process:
        assert process.communicate(timeout=TIMEOUT)[1] == b"pyruntime: stdout: No space left on device\n"
        assert process.returncode == 1


@pytest.mark.parametrize(
    ("closed", "code", "out", "err"),
    [
        ("<&-", 2, b"", b"pyruntime: the prompt is empty\n"),
        (">&-", 0, b"", b""),
        ("2>&-", 0, b"", b""),  # and the error is not on stdout
    ],
)
def test_closed_streams(model_file: Path, closed: str, code: int, out: bytes, err: bytes) -> None:
    prompt = {"<&-": "-", ">&-": "say hello", "2>&-": "nothing"}[closed]
    command = f'exec "{sys.executable}" "{SCRIPT}" generate "{model_file}" "{prompt}" --json {closed}'
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=TIMEOUT)
    assert (done.returncode, done.stderr) == (code, err)
    assert done.stdout == out or json.loads(done.stdout)["text"] == ""


def test_error_with_stderr_closed(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" "{SCRIPT}" generate nope.gguf p 2>&-'], capture_output=True, timeout=TIMEOUT
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, b"", b"")


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_interrupted_generate(model_file: Path, flags: list[str]) -> None:
    with start("generate", str(model_file), "forever", *flags) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"ticking\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, err) == (130, b"")
    assert out.endswith(b"\n")
    if flags:
        assert json.loads(out)["finish_reason"] == "interrupted"


def test_ctrl_c_while_importing() -> None:
    script = """
import sys, pyruntime.__main__ as command
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "pyruntime.cli":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
sys.exit(command.main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=TIMEOUT)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_interrupted_chat_in_a_pipe(model_file: Path) -> None:
    with start("chat", str(model_file), stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b"forever\nsay more\n")
        process.stdin.flush()
        assert process.stderr.readline() == b"ticking\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, err) == (130, b"")
    assert b"more" not in out


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to it")
@pytest.mark.parametrize(("flags", "is_held"), [(["--ram", "1G"], True), ([], False)])
def test_ram_is_the_systems_limit_too(model_file: Path, flags: list[str], is_held: bool) -> None:
    with start("chat", str(model_file), *flags, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"say loaded\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"loaded\n"
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        (of_data,) = (line for line in limits.splitlines() if line.startswith("Max data size"))
        assert ("unlimited" not in of_data.split()[3]) == is_held
        process.stdin.close()
        assert process.wait(TIMEOUT) == 0
