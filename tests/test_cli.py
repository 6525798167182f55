"""The command line with a model that answers by rule (fake_model.py): in this process, in a pipe, on a terminal."""

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import fake_model
import pytest

import pyruntime
from pyruntime import errors
from pyruntime.catalogue import DEFAULT
from pyruntime.cli import main
from pyruntime.cli.terminal import printable

SCRIPT = str(Path(fake_model.__file__))
TIMEOUT = 60


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


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_text("fake")
    return path


@pytest.fixture
def cli(model_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setitem(sys.modules, "pyruntime.model", fake_model.module())
    return Cli(model_file, capsys, monkeypatch)


def assert_one_line_error(done: Done, code: int, *parts: str) -> None:
    assert done.code == code
    assert done.err.startswith("pyruntime: ")
    assert done.err.endswith("\n")
    assert done.err.count("\n") == 1
    for part in parts:
        assert part in done.err


# Usage


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        ([], ["VERB", "pyruntime --help"]),
        (["sing"], ["'sing'", "'chat'", "'generate'"]),
        (["terminal"], ["'terminal'", "'chat'"]),  # a file of the folder, and no verb
        (["generate"], ["MODEL", "pyruntime generate --help"]),
        (["generate", "MODEL", "p", "--max-tokens", "0"], ["--max-tokens", "'0' is not a whole number of at least 1"]),
        (["generate", "MODEL", "p", "--context", "many"], ["--context", "'many'"]),
        (["generate", "MODEL", "p", "--threads", "9" * 40], ["--threads", "9999"]),
        (["generate", "MODEL", "p", "--top-k", "1.5"], ["--top-k", "1.5"]),
        (["generate", "MODEL", "p", "--top-p", "0"], ["top_p"]),
        (["generate", "MODEL", "p", "--min-p", "2"], ["min_p"]),
        (["generate", "MODEL", "p", "--temperature", "nan"], ["temperature"]),
        (["generate", "MODEL", "p", "--temperature", "-1"], ["temperature"]),
        (["generate", "MODEL", "p", "--repetition-penalty", "0"], ["repetition_penalty"]),
        (["generate", "MODEL", "p", "--seed", str(2**64)], ["seed"]),
        (["generate", "MODEL", "p", "--temp", "1"], ["--temp"]),  # no abbreviations: they break when a flag is added
        (["generate", "MODEL", "p", "--raw", "--system", "s"], ["--system", "--raw"]),
        (["generate", "MODEL", "\udcff"], ["PROMPT", "not UTF-8"]),
        (["generate", "MODEL", ""], ["the prompt is empty"]),
        (["generate", "MODEL"], ["the prompt is empty"]),  # stdin is
        (["chat", "MODEL", "extra"], ["extra"]),
        (["chat", "MODEL", "--top-p", "0"], ["top_p"]),
    ],
)
def test_usage_errors(cli: Cli, argv: list[str], parts: list[str]) -> None:
    done = cli(*(cli.model if word == "MODEL" else word for word in argv))
    assert_one_line_error(done, 2, *parts)
    assert done.out == ""


@pytest.mark.parametrize("argv", [["--help"], ["chat", "--help"], ["generate", "--help"]])
def test_help(cli: Cli, argv: list[str]) -> None:
    done = cli(*argv)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"usage: {' '.join(['pyruntime', *argv[:-1]])}")


def test_help_names_the_verbs_and_the_exit_codes(cli: Cli) -> None:
    out = cli("--help").out
    assert "chat" in out
    assert "generate" in out
    assert "2 usage" in out
    assert DEFAULT in cli("chat", "--help").out


def test_version(cli: Cli) -> None:
    assert cli("--version") == (0, f"pyruntime {pyruntime.__version__}\n", "")


def imported_by(*argv: str) -> set[str]:
    script = "import sys; from pyruntime.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script, *argv], capture_output=True, timeout=TIMEOUT, text=True)
    return set(done.stderr.split())


def test_help_imports_nothing_heavy() -> None:
    imported = imported_by("--help")
    assert {"pyruntime.cli.chat", "pyruntime.cli.generate"} <= imported
    heavy = {"numpy", "tokenizers", "minijinja", "subprocess", "asyncio", "pyruntime.model", "pyruntime._core"}
    assert not imported & heavy


def test_a_verb_imports_only_itself() -> None:
    imported = imported_by("generate", "nope.gguf", "p")
    assert "pyruntime.cli.generate" in imported
    assert not imported & {"pyruntime.cli.chat", "pyruntime.model", "numpy"}  # nor a model for a file that is not there


# generate


def test_generate(cli: Cli) -> None:
    assert cli.generate("say héllo") == (0, "héllo\n", "")


def test_newline_at_the_end_is_not_doubled(cli: Cli) -> None:
    assert cli.generate("say hello\n") == (0, "hello\n", "")


def test_raw(cli: Cli) -> None:
    assert cli.generate("--raw", "once upon") == (0, "<once upon>\n", "")


@pytest.mark.parametrize("prompt", [[], ["-"]])
def test_prompt_from_stdin(cli: Cli, prompt: list[str]) -> None:
    assert cli.generate("--raw", *prompt, stdin="a\r\n é\n\n".encode()) == (0, "<a\r\n é\n>\n", "")


def test_prompt_that_looks_like_a_flag(cli: Cli) -> None:
    assert cli.generate("--raw", "--", "--json") == (0, "<--json>\n", "")


def test_stdin_that_is_not_utf8(cli: Cli) -> None:
    assert_one_line_error(cli.generate(stdin=b"ab\xff"), 2, "stdin is not UTF-8: byte 0xff at 2")


def test_stdin_is_not_read_when_there_is_a_prompt(cli: Cli) -> None:
    assert cli.generate("say a", stdin=b"\xff").out == "a\n"


def test_system_message(cli: Cli) -> None:
    assert json.loads(cli.generate("history", "--system", "Be brief.").out) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "history"},
    ]


def test_sampling_flags(cli: Cli) -> None:
    flags = {
        "temperature": 0.5,
        "top_k": 3,
        "top_p": 0.25,
        "min_p": 0.125,
        "repetition_penalty": 1.5,
        "seed": 2**64 - 1,
        "max_tokens": 9,
        "context": 77,
    }
    argv = [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    got = json.loads(cli.generate("options", *argv).out)
    assert {name: got[name] for name in flags} == flags


def test_no_flag_leaves_the_defaults(cli: Cli) -> None:
    from dataclasses import asdict

    from pyruntime.sampling import Sampling

    assert json.loads(cli.generate("options").out) == asdict(Sampling()) | {"max_tokens": None, "context": 512}


def test_json(cli: Cli) -> None:
    done = cli.generate("controls", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.out.isascii()  # and so no control sequence
    assert done.out.count("\n") == 1
    report = json.loads(done.out)
    assert report == {
        "model": cli.model,
        "text": fake_model.CONTROLS,
        "ids": list(range(len(fake_model.CONTROLS))),
        "finish_reason": "stop",
        "prompt_tokens": 3,
        "seed": 7,
        "timings": {"prefill_seconds": 0.25, "generate_tokens": 2},
    }


def test_base_model_completes(cli: Cli) -> None:
    Path(cli.model).write_text("base")
    done = cli.generate("once")
    assert (done.code, done.out) == (0, "<once>\n")
    assert done.err == "pyruntime: no chat template in the model: plain completion\n"


def test_base_model_has_no_place_for_a_system_message(cli: Cli) -> None:
    Path(cli.model).write_text("base")
    assert_one_line_error(cli.generate("once", "--system", "s"), 5, "no chat template", "--system")


def test_answer_that_the_context_cuts_off(cli: Cli) -> None:
    done = cli.generate("full", "--context", "99")
    assert (done.code, done.out) == (0, "cut\n")
    assert "the context of 99 tokens is full" in done.err


def test_answer_that_max_tokens_ends_is_no_surprise(cli: Cli) -> None:
    assert cli.generate("full", "--max-tokens", "1") == (0, "cut\n", "")


# Errors

EXIT_CODES = {
    "PyruntimeError": 1,
    "GGUFError": 3,
    "MemoryLimitError": 4,
    "UnsupportedError": 5,
    "ContextError": 1,
    "NumericsError": 1,
    "TemplateError": 1,
    "FetchError": 1,
}


def test_exit_codes_cover_every_error() -> None:
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert kinds == set(EXIT_CODES)


@pytest.mark.parametrize(("name", "code"), EXIT_CODES.items())
@pytest.mark.parametrize("where", ["fail", "half"])
def test_error_while_answering(cli: Cli, name: str, code: int, where: str) -> None:
    done = cli.generate(f"{where} {name}")
    assert_one_line_error(done, code, f"the {name} of\\x1b[31m a test")
    assert done.out == ("half\n" if where == "half" else "\n")


@pytest.mark.parametrize(("name", "code"), EXIT_CODES.items())
def test_error_while_loading(cli: Cli, name: str, code: int) -> None:
    Path(cli.model).write_text(f"fail {name}")
    for done in (cli.generate("say hello"), cli.chat("say hello\n")):
        assert_one_line_error(done, code, name)
        assert done.out == ""


def test_out_of_memory(cli: Cli) -> None:
    assert_one_line_error(cli.generate("fail MemoryError"), 4, "out of memory")


def test_a_bug_is_one_line_too(cli: Cli) -> None:
    done = cli.generate("fail TypeError")
    assert_one_line_error(done, 1, "internal error: TypeError: the TypeError of", "--debug")


@pytest.mark.parametrize("name", ["GGUFError", "TypeError"])
def test_debug_shows_the_traceback(cli: Cli, name: str) -> None:
    for argv in (["--debug", "generate", cli.model], ["generate", cli.model, "--debug"]):
        done = cli(*argv, f"fail {name}")
        assert done.err.startswith("Traceback (most recent call last):\n")
        assert "in failing" in done.err
        assert "\x1b" not in done.err
        assert done.err.splitlines()[-1].startswith("pyruntime: ")


def test_neither_a_file_nor_a_name(cli: Cli) -> None:
    for done in (cli("generate", "nope\x1b.gguf", "p"), cli("chat", "nope\x1b.gguf")):
        assert_one_line_error(done, 3, "nope\\x1b.gguf: no such file, and no model of the catalogue", DEFAULT)


# chat in a pipe


def test_chat_in_a_pipe(cli: Cli) -> None:
    assert cli.chat("say hello\n\n   \nsay you\r\nsay end") == (0, "hello\nyou\nend\n", "")


def test_chat_of_nothing(cli: Cli) -> None:
    assert cli.chat("") == (0, "", "")


def test_exit_in_a_pipe(cli: Cli) -> None:
    assert cli.chat("say hello\n/exit\nsay you\n") == (0, "hello\n", "")


def test_conversation(cli: Cli) -> None:
    done = cli.chat("say one\nnothing\nsay two\nhistory\n", "--system", "Be brief.")
    assert json.loads(done.out.splitlines()[-1]) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "say one"},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": "say two"},  # the question without an answer was taken back
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "history"},
    ]


@pytest.mark.parametrize(("name", "code"), EXIT_CODES.items())
def test_chat_goes_on_after_an_error(cli: Cli, name: str, code: int) -> None:
    done = cli.chat(f"fail {name}\nhalf {name}\nhistory\n")
    assert done.code == code
    assert done.err == f"pyruntime: the {name} of\\x1b[31m a test\n" * 2
    *before, history = done.out.splitlines()
    assert before == ["", "half"]
    assert [message["content"] for message in json.loads(history)] == [f"half {name}", "half", "history"]


def test_chat_debug(cli: Cli) -> None:
    assert "in failing" in cli.chat("fail ContextError\n", "--debug").err


def test_chat_line_that_is_not_utf8(cli: Cli) -> None:
    done = cli("chat", cli.model, stdin=b"say hello\nsay \xff\n")
    assert done.out == "hello\n"
    assert_one_line_error(done, 2, "line 2 of stdin is not UTF-8: byte 0xff at 4")


def test_chat_with_a_base_model(cli: Cli) -> None:
    Path(cli.model).write_text("base")
    assert_one_line_error(cli.chat("hello\n"), 5, "no chat template", "pyruntime generate")


def test_chat_says_that_the_context_is_full(cli: Cli) -> None:
    done = cli.chat("full\nsay more\n")
    assert (done.code, done.out) == (0, "cut\nmore\n")
    assert "the context of 512 tokens is full" in done.err


# Streams


def test_printable() -> None:
    assert printable(fake_model.CONTROLS) == "a[31mbc\td\n"
    assert "".join(map(printable, fake_model.CONTROLS)) == printable(fake_model.CONTROLS)
    assert printable(fake_model.UNICODE) == "é🙂"
    everything = "".join(map(chr, range(0x3000)))
    assert set(everything) - set(printable(everything)) == {*map(chr, [*range(32), *range(0x7F, 0xA0)])} - {*"\n\t"}


def start(*argv: str, **kwargs: object) -> "subprocess.Popen[bytes]":
    options: dict[str, object] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, SCRIPT, *argv], **(options | kwargs))  # type: ignore[call-overload, no-any-return]


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
def test_stdout_on_a_full_disk(model_file: Path) -> None:
    with open("/dev/full", "wb") as full, start("generate", str(model_file), "say hello", stdout=full) as process:
        assert process.communicate(timeout=TIMEOUT)[1] == b"pyruntime: No space left on device\n"
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


# chat on a terminal


class Terminal:
    """A chat on a pseudo-terminal: what a person types, and waits to see."""

    def __init__(self, *argv: str, **kwargs: object) -> None:
        self._master, slave = pty.openpty()
        streams = {"stdin": slave, "stdout": slave, "stderr": slave, "env": os.environ | {"TERM": "dumb"}}
        self.process = start(*argv, start_new_session=True, **(streams | kwargs))
        os.close(slave)
        self._seen = ""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

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


@pytest.fixture
def terminal(model_file: Path) -> Iterator[Terminal]:
    with Terminal("chat", str(model_file), "--context", "99") as terminal:
        banner = terminal.expect("> ")
        assert "99 tokens of context, 2 threads, fake" in banner
        yield terminal


CTRL_C, CTRL_D = "\x03", "\x04"


@pytest.mark.parametrize("leave", ["/exit\n", "  /exit \n", CTRL_D])
def test_leaving(terminal: Terminal, leave: str) -> None:
    assert terminal.ask("say hello") == "hello"
    assert terminal.ask("say you") == "you"
    terminal.type(leave)
    assert terminal.exit_code() == 0


def test_ctrl_c_stops_the_answer_and_keeps_the_chat(terminal: Terminal) -> None:
    terminal.type("forever\n")
    terminal.expect("tick tick ")
    terminal.type(CTRL_C)
    terminal.expect("^C")
    terminal.expect("\r\n> ")
    question, answer, now = json.loads(terminal.ask("history"))
    assert question == {"role": "user", "content": "forever"}
    assert answer["role"] == "assistant"
    assert answer["content"].startswith("tick tick ")
    assert now == {"role": "user", "content": "history"}
    terminal.type(CTRL_D)
    assert terminal.exit_code() == 0


def test_ctrl_c_at_the_prompt(terminal: Terminal) -> None:
    terminal.type(CTRL_C)
    terminal.expect("(Ctrl-C once more, Ctrl-D or /exit leaves)\r\n> ")
    assert terminal.ask("say hello") == "hello"  # and the next Ctrl-C is a first one again
    terminal.type(CTRL_C)
    terminal.expect("(Ctrl-C once more, Ctrl-D or /exit leaves)\r\n> ")
    terminal.type(CTRL_C)
    assert terminal.exit_code() == 130


def test_error_at_the_terminal(terminal: Terminal) -> None:
    assert terminal.ask("half ContextError").endswith("half\r\npyruntime: the ContextError of\\x1b[31m a test")
    assert terminal.ask("say hello") == "hello"


def test_no_control_sequence_reaches_the_terminal(terminal: Terminal) -> None:
    assert terminal.ask("controls") == "a[31mbc\td"
    assert terminal.ask("unicode") == "é🙂"


def test_generate_on_a_terminal(model_file: Path) -> None:
    with Terminal("generate", str(model_file), "controls") as terminal:
        assert terminal.expect("\td\r\n") == "a[31mbc"
        assert terminal.exit_code() == 0


def test_generate_without_a_prompt_on_a_terminal(model_file: Path) -> None:
    with Terminal("generate", str(model_file)) as terminal:
        terminal.expect("pyruntime: no PROMPT: give one, or pipe a text in\r\n")
        assert terminal.exit_code() == 2


def test_answers_of_a_typed_chat_into_a_pipe(model_file: Path) -> None:
    """`pyruntime chat | tee log`: the prompts are on stderr, stdout has the answers alone, as they are."""
    with Terminal("chat", str(model_file), stdout=subprocess.PIPE) as terminal:
        terminal.expect("\r\n> ")
        terminal.type("controls\n")
        terminal.expect("> ")
        terminal.type(CTRL_D)
        assert terminal.exit_code() == 0
        assert terminal.process.stdout is not None
        with terminal.process.stdout as out:
            assert out.read() == fake_model.CONTROLS.encode()


# With the default model


def run_installed(*argv: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pyruntime", *argv]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=TIMEOUT, encoding="utf-8")


@pytest.mark.model
def test_generate_with_the_default_model(model_path: Path) -> None:
    argv = ["generate", str(model_path), "What is the capital of France?", "--temperature", "0", "--max-tokens", "24"]
    plain, as_json = run_installed(*argv), run_installed(*argv, "--json")
    assert (plain.returncode, plain.stderr) == (0, "")
    assert "Paris" in plain.stdout
    report = json.loads(as_json.stdout)
    assert set(report) == {"model", "text", "ids", "finish_reason", "prompt_tokens", "seed", "timings"}
    assert plain.stdout == report["text"] + "\n"
    assert 0 < len(report["ids"]) <= 24
    assert report["finish_reason"] in {"stop", "length"}
    assert report["timings"]["prefill_tokens"] == report["prompt_tokens"]


@pytest.mark.model
def test_chat_with_the_default_model(model_path: Path) -> None:
    turns = "What is the capital of France?\nAnd of Italy?\n"
    done = run_installed("chat", str(model_path), "--temperature", "0", "--max-tokens", "32", stdin=turns)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Paris" in done.stdout
    assert "Rome" in done.stdout


@pytest.mark.model
def test_chat_longer_than_the_context(model_path: Path) -> None:
    turns = "Tell me a long story.\nGo on.\n/exit\n"
    done = run_installed("chat", str(model_path), "--context", "64", "--temperature", "0", stdin=turns)
    assert done.returncode == errors.ContextError.exit_code
    full, refused = done.stderr.splitlines()
    assert "the context of 64 tokens is full" in full
    assert refused.startswith("pyruntime: ")
