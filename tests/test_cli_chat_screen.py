"""Answers of a chat on a screen: as they come, interrupted, resized, hostile; and what is left of the terminal afterwards."""

from __future__ import annotations

import json
import os
import re
import signal
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
import terminal_command
import tiny_gguf
from terminal_screen import ENTER, ScreenTerminal, ctrl, drawn, pasted

MARKDOWN = Path(__file__).parent / "data" / "chat"
SPEED = re.compile(r"\d+ tokens?, \d+\.\d tokens/s(, interrupted)?")

# Sequences that do something on most terminals, with ESC and in C1: a title, the clipboard, erasing, colours, a report
# that would look typed, another character set, a reset.
HOSTILE = [
    *("\x1b]0;title\x07", "\x1b]52;c;YQ==\x1b\\", "\x1b[2J", "\x1b[31m", "\x1b[5n", "\x1b(0", "\x1bc", "\x1bP$q\x1b\\"),
    *("\x08\r\x0b", "\x9d0;title\x9c", "\x9b2J", "\x9b31m", "\x90$q\x9c", "\x85\x8d", "\x0e\x0f\x05"),
]  # fmt: skip
HOSTILE_MARKDOWN = """\
# A {0} heading
- an item {0}
> a quote {0}
**bold {0}**, `code {0}`, [link{0}](https://{0})

| a {0} | b |
|---|---|
| c | {0} |

```{0}
code {0}
```
```python
"{0}"
```
"""


@pytest.fixture
def chat(model_file: Path) -> Iterator[ScreenTerminal]:
    with ScreenTerminal("chat", str(model_file), lines=40, columns=60) as terminal:
        terminal.until_prompt()
        yield terminal


def sequences(raw: bytes) -> set[str]:
    """The control sequences that were written, without their numbers; and every other control character."""
    text = raw.decode()
    known = re.findall(r"\x1b\[\??[\d;]*[A-Za-z]", text)
    rest = re.sub(r"\x1b\[\??[\d;]*[A-Za-z]", "", text)
    return {re.sub(r"\d+(;\d+)*", "", found) for found in known} | set(re.findall(r"[^\r\n\t -~\xa0-\U0010ffff]", rest))


# As they come


def test_streamed_markdown(chat: ScreenTerminal) -> None:
    """In a process of its own, it is the screen that the golden ones show."""
    for source in sorted(MARKDOWN.glob("*.md")):
        before = len(chat.screen.everything)
        *_, speed = chat.ask(f"read {source}").splitlines()
        assert SPEED.fullmatch(speed)
        expected = drawn([source.read_text()], 60).text
        question = -(-len(f"> read {source}") // 58)  # lines of it
        assert chat.screen.everything[before - 1 + question : -2] == expected, source


def test_thoughts_are_dim_and_apart(chat: ScreenTerminal) -> None:
    assert re.fullmatch(r"\*hm\*\n\n\*?yes\n.*", chat.ask("think *hm*: *yes*"))
    at = chat.screen.text.index("*hm*")
    assert {cell.blink for cell in map(chat.screen.buffer[at].__getitem__, range(4))} == {True}  # dim, see Screen
    assert chat.screen.buffer[at + 2][0].italics


def test_the_line_under_an_answer_is_dim(chat: ScreenTerminal) -> None:
    chat.ask("say hello")
    assert chat.screen.text[-2] == "5 tokens, 4.0 tokens/s"
    assert all(chat.screen.buffer[len(chat.screen.text) - 2][x].blink for x in range(22))
    assert not chat.screen.buffer[len(chat.screen.text) - 3][0].blink


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": "unknown"}])
def test_without_colours(model_file: Path, env: dict[str, str]) -> None:
    with ScreenTerminal("chat", str(model_file), env=env) as terminal:
        terminal.until(lambda screen: screen.text and screen.text[-1] == ">")
        terminal.type("say # **bold** `code`" + ENTER)
        terminal.until(lambda screen: "tokens/s" in screen.text[-2] and screen.text[-1] == ">")
        assert "# **bold** `code`" in terminal.screen.text
        terminal.type(ctrl("d"))
        assert terminal.finish() == 0
        assert re.findall(rb"\x1b\[[\d;]*[1-9][\d;]*m", terminal.raw) == []
        if "TERM" in env:
            assert sequences(terminal.raw) == set()


# Interrupted


def test_ctrl_c_stops_an_answer(chat: ScreenTerminal) -> None:
    at_prompt = modes(chat)
    for _ in range(3):
        chat.type("forever" + ENTER)
        chat.until("tick tick tick")
        chat.type(ctrl("c"))
        chat.until(", interrupted\n>")
        chat.until_prompt()
        assert modes(chat) == at_prompt
        assert "Traceback" not in "\n".join(chat.screen.everything)
        chat.ask("/reset")
        chat.type(ctrl("l"))  # a clear screen
        chat.until(lambda screen: screen.text == [">"])
    chat.type(ctrl("d"))
    assert chat.finish() == 0


def test_ctrl_c_twice_stops_the_answer_once(chat: ScreenTerminal) -> None:
    """The second one comes while the first is still being obeyed."""
    chat.type("stubborn" + ENTER)
    chat.until("tick tick tick")
    chat.type(ctrl("c"))
    chat.until(lambda _: b"closing" in chat.raw, "closing")
    chat.type(ctrl("c"))
    chat.until(", interrupted\n>")
    assert chat.ask("say hello") == "hello\n5 tokens, 4.0 tokens/s"


def test_keys_typed_into_an_answer_wait_for_the_prompt(chat: ScreenTerminal) -> None:
    for _ in range(3):  # the keys come before, while or after the line editor starts
        chat.type("forever" + ENTER)
        chat.until("tick tick tick")
        chat.type("say later")
        chat.type(ctrl("c"))  # the terminal drops what was typed before
        chat.type("say now")
        chat.until(lambda screen: screen.text[-1] == "> say now" and screen.takes_paste)
        assert "say" not in "\n".join(chat.screen.everything[:-1])
        chat.type(ctrl("c") + ctrl("l"))  # takes back the draft; a clear screen
        chat.until(lambda screen: screen.text == [">"])


# The size of the window


@pytest.mark.parametrize("columns", [30, 120])
def test_resize_within_an_answer(chat: ScreenTerminal, columns: int) -> None:
    """From the next word on it is wrapped at the new width; what is there stays."""
    chat.type("forever" + ENTER)
    chat.until(lambda screen: len(screen.text) > 8)
    chat.resize(40, columns)
    before = len(chat.screen.text)
    chat.until(lambda screen: len(screen.everything) > before + 4)
    chat.type(ctrl("c"))
    chat.until_prompt()
    after = chat.screen.everything[before + 1 :]
    assert after[:3] == [" ".join(["tick"] * (columns // 5))] * 3


# Hostile


def test_no_control_sequence_of_the_models_text(chat: ScreenTerminal, tmp_path: Path) -> None:
    source = tmp_path / "answer.md"
    source.write_text(HOSTILE_MARKDOWN.format("plain"))
    chat.ask(f"read {source}")
    clean = sequences(chat.raw)
    for sequence in HOSTILE:
        source.write_bytes(HOSTILE_MARKDOWN.format(sequence).encode())
        chat.ask(f"read {source}")
        assert sequences(chat.raw) == clean, ascii(sequence)
    assert (chat.screen.titles, chat.screen.bells) == ([], 0)


def test_no_control_sequence_of_names(tmp_path: Path) -> None:
    """Of the model's file, of what is typed, and of what a conversation's file holds."""
    hostile = "".join(HOSTILE).replace("/", "")
    model = tmp_path / f"{hostile}.gguf"
    model.write_text("fake")
    with ScreenTerminal("chat", str(model), lines=60, columns=200, cwd=tmp_path) as terminal:
        terminal.ask("say hello")
        clean = sequences(terminal.raw)
        terminal.ask("/save talk.json")
        talk = json.loads((tmp_path / "talk.json").read_text())
        talk["model"] = f"{hostile[:40]} is the model"
        talk["messages"][0]["content"] = f"{hostile[:40]} is the question"
        (tmp_path / "talk.json").write_text(json.dumps(talk))
        assert "\\x1b" in terminal.ask("/load talk.json")
        assert "\\x1b" in terminal.ask("/undo")
        for command in ("/load", "/save", "/set", "/system", "say"):
            terminal.until_prompt()
            terminal.type(pasted(f"{command} {hostile}.".replace("\r", "")))
            terminal.ask("")
        assert "\\x1b" in terminal.ask("/system")
        assert sequences(terminal.raw) == clean
        assert (terminal.screen.titles, terminal.screen.bells) == ([], 0)


# What is left of the terminal


def modes(terminal: ScreenTerminal) -> list[object]:
    return termios.tcgetattr(terminal._master)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("during", ["prompt", "answer"])
def test_a_signal_restores_the_terminal(model_file: Path, number: signal.Signals, during: str) -> None:
    with ScreenTerminal("chat", str(model_file)) as terminal:
        before = modes(terminal)
        terminal.until_prompt()
        assert modes(terminal) != before  # so the comparison below means something
        if during == "answer":
            terminal.type("forever" + ENTER)
            terminal.until("tick tick tick")
            assert modes(terminal) != before
        terminal.process.send_signal(number)
        assert terminal.finish() == -number
        assert modes(terminal) == before
        assert not terminal.screen.takes_paste
        assert not terminal.screen.cursor.hidden
        assert terminal.screen.cursor.attrs == terminal.screen.default_char


@pytest.mark.parametrize("during", ["prompt", "answer"])
def test_a_window_that_is_closed(model_file: Path, during: str) -> None:
    """The chat ends with it, whatever it does."""
    with ScreenTerminal("chat", str(model_file)) as terminal:
        terminal.until_prompt()
        if during == "answer":
            terminal.type("forever" + ENTER)
            terminal.until("tick tick tick")
        os.dup2(os.open(os.devnull, os.O_RDWR), terminal._master)
        assert terminal.exit_code() in (-signal.SIGHUP, 0, 1)


def test_leaving_restores_the_terminal(model_file: Path) -> None:
    with ScreenTerminal("chat", str(model_file)) as terminal:
        before = modes(terminal)
        terminal.ask("say hello")
        terminal.type("/exit" + ENTER)
        assert terminal.finish() == 0
        assert modes(terminal) == before
        assert not terminal.screen.takes_paste


# A full context


def test_the_oldest_turns_are_dropped_whole(tmp_path: Path) -> None:
    """With a real model: the system message stays, the person is told how many messages went."""
    model = tiny_gguf.write(tmp_path / "tiny.gguf", "Q8_0")
    flags = ("--context", "192", "--max-tokens", "12", "--system", "Be brief.", "--temperature", "0")
    script = terminal_command.__file__
    with ScreenTerminal("chat", str(model), *flags, script=script, cwd=tmp_path, columns=120) as terminal:
        told = 0
        for turn in range(8):
            answer = terminal.ask(f"Question number {turn}, a few words long.")
            if found := re.search(
                r"the context of 192 tokens is full: the oldest messages \((\d+)\) are left out", answer
            ):
                told += int(found[1])
        terminal.ask("/save talk.json")
    first, *turns = json.loads((tmp_path / "talk.json").read_text())["messages"]
    assert first == {"role": "system", "content": "Be brief."}
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * (len(turns) // 2)
    assert told > 0
    assert told + len(turns) == 16
    asked = [turn["content"] for turn in turns if turn["role"] == "user"]
    assert asked == [f"Question number {turn}, a few words long." for turn in range(8 - len(asked), 8)]
