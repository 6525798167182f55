"""`pyruntime chat`: in a pipe, and on a pseudo-terminal."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import fake_model
import pytest
from cli_tools import EXIT_CODES, Cli, Terminal, assert_one_line_error

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


def test_chat_with_a_base_model_continues_each_line(cli: Cli) -> None:
    Path(cli.model).write_text("base")
    done = cli.chat("once upon\na time\n")
    assert (done.code, done.out) == (0, "<once upon>\n<a time>\n")
    note = "pyruntime: no chat template in the model: it continues each line, by {} tokens at most\n"
    assert done.err == note.format(128)
    assert cli.chat("", "--max-tokens", "7").err == note.format(7)
    assert cli.chat("once\n", "--show-prompt").err == note.format(128) + "<s>once\n\\x1b\n"
    assert_one_line_error(cli.chat("once\n", "--system", "s"), 5, "no chat template", "--system")


def test_thoughts_are_kept_for_the_template_and_not_shown_in_a_pipe(cli: Cli) -> None:
    *answers, history = cli.chat("think hm: yes\nhistory\n").out.splitlines()
    assert answers == ["yes"]
    assert json.loads(history)[1] == {"role": "assistant", "content": "yes", "reasoning_content": "hm"}


def test_the_prompt_of_each_turn(cli: Cli) -> None:
    one = {"role": "user", "content": "say a"}
    two = [one, {"role": "assistant", "content": "a"}, {"role": "user", "content": "say b"}]
    done = cli.chat("say a\nsay b\n", "--show-prompt")
    assert done.out == "a\nb\n"
    assert done.err == f"<s>{json.dumps([one])}\n\\x1b\n<s>{json.dumps(two)}\n\\x1b\n"


def test_chat_says_that_the_context_is_full(cli: Cli) -> None:
    done = cli.chat("full\nsay more\n")
    assert (done.code, done.out) == (0, "cut\nmore\n")
    assert "the context of 512 tokens is full" in done.err


@pytest.mark.parametrize("system", [[], ["--system", "s"]])
def test_chat_drops_the_oldest_turns(cli: Cli, system: list[str]) -> None:
    """It forgets them as the prompt did, but for the system message, and says so."""
    done = cli.chat("say a\nsay b\ndrop c\nhistory\n", *system)
    assert done.err == "pyruntime: the context of 512 tokens is full: the oldest messages (2) are left out\n"
    assert [m["content"] for m in json.loads(done.out.splitlines()[-1])] == [
        *system[1:],
        "say b",
        "b",
        "drop c",
        "c",
        "history",
    ]
    assert cli.chat("say a\ndrop c\n", "--overflow", "error") == (0, "a\nc\n", "")


# chat on a terminal


@pytest.fixture
def terminal(model_file: Path) -> Iterator[Terminal]:
    with Terminal("chat", str(model_file), "--context", "99") as terminal:
        banner = terminal.expect("> ")
        assert "99 tokens of context, 2 threads, fake" in banner
        yield terminal


CTRL_C, CTRL_D = "\x03", "\x04"


def answer(terminal: Terminal, question: str) -> str:
    """What the model answers, without the line about its speed."""
    shown, _, speed = terminal.ask(question).rpartition("\r\n")
    assert re.fullmatch(r"\d+ tokens?, 4\.0 tokens/s", speed)
    return shown


@pytest.mark.parametrize("leave", ["/exit\n", "  /exit \n", CTRL_D])
def test_leaving(terminal: Terminal, leave: str) -> None:
    assert answer(terminal, "say hello") == "hello"
    assert answer(terminal, "say you") == "you"
    terminal.type(leave)
    assert terminal.exit_code() == 0


def test_ctrl_c_stops_the_answer_and_keeps_the_chat(terminal: Terminal) -> None:
    terminal.type("forever\n")
    terminal.expect("tick tick ")
    terminal.type(CTRL_C)
    terminal.expect(", interrupted\r\n> ")
    question, said, now = json.loads(answer(terminal, "history"))
    assert question == {"role": "user", "content": "forever"}
    assert said["role"] == "assistant"
    assert said["content"].startswith("tick tick ")
    assert now == {"role": "user", "content": "history"}
    terminal.type(CTRL_D)
    assert terminal.exit_code() == 0


def test_ctrl_c_at_the_prompt(terminal: Terminal) -> None:
    terminal.ctrl_c_at_prompt()
    terminal.expect("(Ctrl-C once more, Ctrl-D or /exit leaves)\r\n> ")
    assert answer(terminal, "say hello") == "hello"  # and the next Ctrl-C is a first one again
    terminal.ctrl_c_at_prompt()
    terminal.expect("(Ctrl-C once more, Ctrl-D or /exit leaves)\r\n> ")
    terminal.ctrl_c_at_prompt()
    assert terminal.exit_code() == 130


def test_error_at_the_terminal(terminal: Terminal) -> None:
    assert terminal.ask("half ContextError").endswith("half\r\npyruntime: the ContextError of\\x1b[31m a test")
    assert answer(terminal, "say hello") == "hello"


def test_no_control_sequence_reaches_the_terminal(terminal: Terminal) -> None:
    assert answer(terminal, "controls") == "a[31mbc\td"
    assert answer(terminal, "unicode") == "é🙂"


@pytest.mark.parametrize(
    ("env", "shown"),
    [
        ({"TERM": "xterm"}, "\x1b[2mh\x1b[22m\x1b[2mm\x1b[22m\r\n\r\nyes"),
        ({"TERM": "dumb"}, "hm\r\n\r\nyes"),
        ({"TERM": "xterm", "NO_COLOR": "1"}, "hm\r\n\r\nyes"),
    ],
)
def test_thoughts_are_dim(model_file: Path, env: dict[str, str], shown: str) -> None:
    with Terminal("generate", str(model_file), "think h\x1bm: yes", env=os.environ | env) as terminal:
        assert terminal.expect("yes\r\n") + "yes" == shown
        assert terminal.exit_code() == 0


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
