"""Typing at the prompt of a chat, on a screen."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from terminal_screen import (
    ALT_ENTER,
    BACKSPACE,
    DELETE,
    DOWN,
    END,
    ENTER,
    HOME,
    LEFT,
    RIGHT,
    TAB,
    UP,
    Screen,
    ScreenTerminal,
    ctrl,
    pasted,
)


@pytest.fixture
def chat(model_file: Path) -> Iterator[ScreenTerminal]:
    with ScreenTerminal("chat", str(model_file)) as terminal:
        terminal.until_prompt()
        yield terminal


def line(text: str, cursor: int) -> Callable[[Screen], object]:
    """That the prompt holds a line, with the cursor at one of its characters."""
    return lambda screen: screen.text[-1] == f"> {text}".rstrip() and screen.at[1] == 2 + cursor


def asked(chat: ScreenTerminal, folder: Path) -> str:
    """The last question as the model got it."""
    chat.ask(f"/save {folder / 'asked.json'}")
    question: str = json.loads((folder / "asked.json").read_text())["messages"][-2]["content"]
    return question


# Of "one two three", with the cursor at its end; what is left of it, and where the cursor is.
KEYS = {
    "left": (LEFT + LEFT + "X", "one two thrXee", 12),
    "right": (HOME + RIGHT + "X", "oXne two three", 2),
    "home": (HOME + "X", "Xone two three", 1),
    "end": (HOME + END + "X", "one two threeX", 14),
    "beginning": (ctrl("a") + "X", "Xone two three", 1),
    "end of line": (ctrl("a") + ctrl("e") + "X", "one two threeX", 14),
    "back and forth": (ctrl("b") + ctrl("b") + ctrl("f") + "X", "one two threXe", 13),
    "backspace": (BACKSPACE + BACKSPACE, "one two thr", 11),
    "delete": (HOME + DELETE, "ne two three", 0),
    "erase a word": (ctrl("w"), "one two ", 8),
    "erase two words, give them back": (ctrl("w") + ctrl("w") + ctrl("y"), "one two three", 13),
    "erase before": (LEFT + LEFT + ctrl("u"), "ee", 0),
    "erase behind": (ctrl("a") + RIGHT + ctrl("k"), "o", 1),
    "erase behind, give it back": (HOME + ctrl("k") + ctrl("y") + ctrl("y"), "one two threeone two three", 26),
    "swap": (HOME + RIGHT + ctrl("t"), "noe two three", 2),
    "undo": ("X" + ctrl("w") + ctrl("_"), "one two threeX", 14),
}


def test_keys(chat: ScreenTerminal) -> None:
    for name, (keys, text, cursor) in KEYS.items():
        chat.type("one two three")
        chat.until(line("one two three", 13))
        chat.type(keys)
        chat.until(line(text, cursor), name)
        chat.type(ctrl("e") + ctrl("u"))
        chat.until(line("", 0))


# Keys, the lines that the prompt then shows, and what is sent.
SEVERAL_LINES = {
    "Alt-Enter": (f"one{ALT_ENTER}two", ["> one", "  two"], "one\ntwo"),
    "a backslash": (f"one\\{ENTER}two", ["> one", "  two"], "one\ntwo"),
    "a backslash inside": (f"a\\b{LEFT}", ["> a\\b"], "a\\b"),
    "a block": (f'"""{ENTER}one{ENTER}  two{ENTER}{ENTER}"""', ['> """', "  one", "    two", '  """'], "one\n  two"),
    "a block in a line": ('"""one"""', ['> """one"""'], "one"),
    "edited": (f"two{HOME}one{ALT_ENTER}{UP}{END}!{DOWN}{END}?", ["> one!", "  two?"], "one!\ntwo?"),
    "a paste": (
        pasted("one\n/exit\n\ttwo\nlast\n"),
        ["> one", "  /exit", "      two", "  last"],
        "one\n/exit\n\ttwo\nlast",
    ),
    "a paste in a line": (f"ac{LEFT}{pasted('B')}", ["> aBc"], "aBc"),
    "a paste that looks like an open block": (pasted('say """'), ['> say """'], 'say """'),
    "a command that is none": ("//exit", ["> //exit"], "/exit"),
    "a path": ("/etc/hosts is a file", ["> /etc/hosts is a file"], "/etc/hosts is a file"),
    "wide": (f"日本x{LEFT}{LEFT}語", ["> 日語本x"], "日語本x"),
    "a long line": ("x" * 200, ["> " + "x" * 78, "  " + "x" * 78, "  " + "x" * 44], "x" * 200),
}


@pytest.mark.parametrize(("keys", "shown", "sent"), SEVERAL_LINES.values(), ids=SEVERAL_LINES)
def test_what_is_sent(chat: ScreenTerminal, tmp_path: Path, keys: str, shown: list[str], sent: str) -> None:
    chat.type(keys)
    chat.until(lambda screen: [line for line in screen.text if line][-len(shown) :] == shown, str(shown))
    chat.type(ENTER)
    chat.until("tokens/s")
    assert asked(chat, tmp_path) == sent


def test_a_large_paste_is_shown_by_its_size(chat: ScreenTerminal, tmp_path: Path) -> None:
    text = "word " * 2000
    chat.type("look: " + pasted(text) + "!" + ENTER)
    chat.until("> look: [pasted text 1: 10000 characters]!")
    chat.until("tokens/s")
    assert asked(chat, tmp_path) == f"look: {text}!"
    chat.type(UP + UP)
    chat.until(lambda screen: screen.text[-1] == "> look: [pasted text 1: 10000 characters]!")


def test_a_paste_is_not_obeyed(chat: ScreenTerminal) -> None:
    """Nothing of it is a key, and nothing of it reaches the terminal."""
    chat.type(pasted("a\x1b]0;title\x07\x1b[2J\x9b31m\x03\x04b"))
    chat.until(lambda screen: screen.text[-1].startswith("> a") and screen.text[-1].endswith("b"))
    assert chat.screen.titles == []
    assert b"\x1b]" not in chat.raw
    assert b"\x1b[2J" not in chat.raw
    assert "Ctrl-C stops an answer" in chat.screen.text[-2]


COMPLETIONS = {"/he": "/help ", "/set temp": "/set temperature ", "/set nothing": "/set nothing", "say /he": "say /he"}


@pytest.mark.parametrize(("typed", "completed"), COMPLETIONS.items())
def test_completion(chat: ScreenTerminal, typed: str, completed: str) -> None:
    chat.type(typed + TAB + "X")
    chat.until(line(f"{completed}X", len(completed) + 1))


def test_completion_of_several(chat: ScreenTerminal) -> None:
    chat.type("/s" + TAB)
    chat.until("/system /save   /stats  /set\n> /s")
    chat.type("y" + TAB + "X")
    chat.until(line("/system X", 9))


# History


def history_file(home: Path) -> Path:
    return home / "history"


def say(terminal: ScreenTerminal, *words: str) -> None:
    for word in words:
        terminal.ask(f"say {word}")
    terminal.type(ctrl("d"))
    assert terminal.finish() == 0


def test_history_over_two_chats(model_file: Path, pyruntime_home: Path) -> None:
    with ScreenTerminal("chat", str(model_file)) as first:
        say(first, "one", "two", "two", "drei")
    assert history_file(pyruntime_home).stat().st_mode & 0o777 == 0o600
    assert pyruntime_home.stat().st_mode & 0o777 == 0o700
    history_file(pyruntime_home).chmod(0o644)  # by an accident
    with ScreenTerminal("chat", str(model_file)) as second:
        second.until_prompt()
        for key, shown in ((UP, "say drei"), (UP, "say two"), (UP, "say one"), (UP, "say one"), (DOWN, "say two")):
            second.type(key)
            second.until(line(shown, len(shown)), shown)
        second.type(ctrl("c"))
        second.until_prompt()
        for keys, found in ((ctrl("r") + "o", "say two"), ("ne", "say one"), (ENTER, "say one")):
            second.type(keys)
            second.until(lambda screen, found=found: f"> {found}" in screen.text, found)
        second.type(END + "!" + ENTER)
        second.until("tokens/s")
    assert history_file(pyruntime_home).stat().st_mode & 0o777 == 0o600
    texts = ["say one", "say two", "say drei", "say one!"]
    assert [json.loads(text) for text in history_file(pyruntime_home).read_text().splitlines()] == texts


def test_no_history(model_file: Path, pyruntime_home: Path) -> None:
    with ScreenTerminal("chat", str(model_file)) as terminal:
        say(terminal, "kept")
    before = history_file(pyruntime_home).read_bytes()
    with ScreenTerminal("chat", str(model_file), "--no-history") as terminal:
        terminal.ask("say secret")
        for key in (UP, UP, DOWN):  # what was typed in this chat is there, and nothing of the others
            terminal.type(key)
            terminal.until(line("say secret", 10))
        terminal.type(ctrl("u") + ctrl("d"))
        assert terminal.finish() == 0
    assert history_file(pyruntime_home).read_bytes() == before
    assert [file.name for file in pyruntime_home.iterdir()] == ["history"]


def test_a_history_that_is_damaged(model_file: Path, pyruntime_home: Path) -> None:
    pyruntime_home.mkdir()
    damage = b'"say one"\n{"a":1}\n"half\n\xff\xfe\n"\\ud800"\n[[[[\n"\\u001b]0;title\\u0007"\n'
    history_file(pyruntime_home).write_bytes(damage)
    with ScreenTerminal("chat", str(model_file)) as terminal:
        terminal.until_prompt()
        terminal.type(UP)
        terminal.until(lambda screen: screen.text[-1] == "> ^[]0;title^G")
        terminal.type(UP)
        terminal.until(line("say one", 7))
        assert terminal.screen.titles == []


def test_a_history_that_cannot_be_had(model_file: Path, pyruntime_home: Path) -> None:
    history_file(pyruntime_home).mkdir(parents=True)
    with ScreenTerminal("chat", str(model_file)) as terminal:
        terminal.until_prompt()
        terminal.until("pyruntime: no history: ")
        assert terminal.ask("say hello").startswith("hello\n")
        terminal.type(UP)
        terminal.until(line("say hello", 9))


# The size of the window


def test_resize_while_typing(chat: ScreenTerminal, tmp_path: Path) -> None:
    text = " ".join(f"word{n}" for n in range(20))  # 130 characters
    chat.type(text + LEFT * 3)
    for lines, columns in ((24, 40), (24, 60), (10, 200), (6, 30), (24, 80)):
        chat.resize(lines, columns)
        room = columns - 2
        shown = [text[at : at + room].rstrip() for at in range(0, len(text), room)]
        at = (len(text) - 3) % room + 2
        chat.until(
            lambda screen, shown=shown, at=at: (
                [line[2:] for line in screen.text[-len(shown) :]] == shown and screen.at[1] == at
            ),
            f"{columns} columns",
        )
        assert sum("> word0" in line for line in chat.screen.text) == 1
    chat.type("X" + ENTER)
    chat.until("tokens/s")
    assert asked(chat, tmp_path) == text[:-3] + "X" + text[-3:]


# Leaving


def test_ctrl_c_takes_the_line_back(chat: ScreenTerminal) -> None:
    for draft in ("say something", "say something else"):
        chat.type(draft + ctrl("c"))
        chat.until(f"> {draft}\n>")
        chat.until_prompt()
    assert chat.ask("say hello").startswith("hello\n")
    chat.type(ctrl("c"))
    chat.until("(Ctrl-C once more, Ctrl-D or /exit leaves)")
    chat.until_prompt()
    chat.type(ctrl("c"))
    assert chat.finish() == 130


def test_ctrl_d_leaves_where_the_line_is_empty(chat: ScreenTerminal) -> None:
    chat.type("ab" + LEFT + ctrl("d"))
    chat.until(line("a", 1))
    chat.type(ctrl("d"))  # at the end of a line it does nothing
    chat.until(line("a", 1))
    chat.type(BACKSPACE + ctrl("d"))
    assert chat.finish() == 0
    assert not chat.screen.takes_paste
