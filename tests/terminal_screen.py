"""A terminal as a person sees it: what the command line writes goes through a terminal emulator (pyte) onto a screen.

The pseudo-terminal has a size, takes keys, answers the questions that a terminal answers, and can be resized as a window is.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import string
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyte
import pytest
from cli_tools import TIMEOUT, Terminal
from wcwidth import wcwidth

UP, DOWN, RIGHT, LEFT, END, HOME = (f"\x1b[{letter}" for letter in "ABCDFH")
DELETE, BACKSPACE, ENTER, ALT_ENTER, TAB = "\x1b[3~", "\x7f", "\r", "\x1b\r", "\t"
_PASTE_MARKS = 2004 << 5  # bracketed paste, as pyte keeps private modes
_SELECTED = ("bold", "italics", "underscore", "strikethrough", "reverse")


def ctrl(letter: str) -> str:
    return chr(ord(letter) & 0x1F)


def pasted(text: str) -> str:
    """What a terminal sends for a paste: newlines as Enter, between the marks that keep them from being obeyed."""
    return "\x1b[200~" + text.replace("\n", "\r") + "\x1b[201~"


class Screen(pyte.Screen):
    """pyte's, mended where a terminal differs: dim text, joiners, a resize; what was scrolled off the top is kept."""

    def __init__(self, columns: int, lines: int, answer: Callable[[str], object] = lambda _: None) -> None:
        self.scrolled: list[str] = []
        self.titles: list[str] = []
        self.bells = 0
        self._answer = answer
        super().__init__(columns, lines)

    @property
    def text(self) -> list[str]:
        """The lines, without what is empty at their ends and below."""
        lines = [line.rstrip() for line in self.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def everything(self) -> list[str]:
        """`text` below what was scrolled off."""
        return [*self.scrolled, *self.text]

    @property
    def at(self) -> tuple[int, int]:
        """The cursor's line and column, from 0."""
        return self.cursor.y, self.cursor.x

    @property
    def takes_paste(self) -> bool:
        """Whether a line editor waits for keys: it asks for the marks of pastes, in raw mode already."""
        return _PASTE_MARKS in self.mode

    def styled(self) -> str:
        """The screen as text: each line after a space and, after a colon, a letter for the style of each of its cells; the
        letters are explained below."""
        names: dict[str, str] = {}
        letters = iter(string.ascii_lowercase)
        shown = []
        for y, line in enumerate(self.text):
            cells = [self.buffer[y][x] for x in range(self.columns)]
            styles = [_style(cell) for cell in cells]
            for style in styles:
                if style and style not in names:
                    names[style] = next(letters)
            marks = "".join(names.get(style, " ") for style in styles).rstrip()
            shown += [f" {line}".rstrip(), *([f":{marks}"] if marks else [])]
        return "".join(f"{line}\n" for line in [*shown, *(f"= {letter} {name}" for name, letter in names.items())])

    def draw(self, data: str) -> None:
        for char in data:  # one by one: pyte forgets what follows a joiner
            if wcwidth(char) == 2 and self.cursor.x == self.columns - 1:
                self.cursor.x = self.columns  # a wide character needs both its columns on one line
            super().draw(char)

    def index(self) -> None:
        if self.cursor.y == self.lines - 1:
            self.scrolled.append(self.display[0].rstrip())
        super().index()

    def select_graphic_rendition(self, *attrs: int, **kwargs: Any) -> None:
        # pyte knows no dim; nothing here blinks.
        swapped = [code for attr in attrs for code in {2: (5,), 22: (22, 25)}.get(attr, (attr,))]
        super().select_graphic_rendition(*swapped, **kwargs)

    def resize(self, lines: int | None = None, columns: int | None = None) -> None:
        """As xterm does it: lines go at the top only as far as the cursor needs it; long ones are cut, not wrapped anew."""
        lines, columns = lines or self.lines, columns or self.columns
        for _ in range(self.cursor.y - lines + 1):
            self.scrolled.append(self.display[0].rstrip())
            self.buffer = _shifted(self.buffer)
            self.cursor.y -= 1
        for y in range(lines, self.lines):
            self.buffer.pop(y, None)
        self.lines = lines  # or pyte would drop lines at the top
        super().resize(lines, columns)
        self.cursor.x = min(self.cursor.x, columns - 1)

    def bell(self, *_: Any) -> None:
        self.bells += 1

    def set_title(self, param: str) -> None:
        self.titles.append(param)

    def write_process_input(self, data: str) -> None:
        self._answer(data)


def _shifted(buffer: Mapping[int, Any]) -> Any:
    """All lines, each one higher."""
    shifted = type(buffer)(buffer.default_factory)  # type: ignore[call-arg, attr-defined]
    shifted.update({y - 1: line for y, line in buffer.items() if y})
    return shifted


def _style(cell: pyte.screens.Char) -> str:
    colours = [cell.fg] * (cell.fg != "default") + [f"on {cell.bg}"] * (cell.bg != "default")
    return " ".join([name for name in _SELECTED if getattr(cell, name)] + ["dim"] * cell.blink + colours)


class ScreenTerminal(Terminal):
    """The command line on a terminal with a screen."""

    def __init__(
        self, *argv: str, lines: int = 24, columns: int = 80, env: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        self.raw = b""  # all that was written
        self.screen = Screen(columns, lines, self.type)
        self._stream = pyte.ByteStream(self.screen)
        without = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLORTERM")}
        chosen = without | {"TERM": "xterm-256color"} | (env or {})
        super().__init__(*argv, size=(lines, columns), env=chosen, **kwargs)

    def until(self, condition: str | Callable[[Screen], object], what: str = "") -> None:
        """Waits until the screen shows a text, or is as it should be; `what` names that."""
        what = what or repr(condition)
        deadline = time.monotonic() + TIMEOUT
        while not self._holds(condition):
            if self._feed(0.2) or self._holds(condition):
                continue
            if self.process.poll() is not None:
                pytest.fail(f"waited for {what}, the process ended with {self.process.returncode}:\n{self._shown()}")
            if time.monotonic() > deadline:
                pytest.fail(f"waited for {what}, saw:\n{self._shown()}")

    def until_prompt(self) -> None:
        """Waits until an empty prompt takes keys."""
        self.until(lambda screen: screen.takes_paste and screen.text and screen.text[-1] == ">", "an empty prompt")

    def ask(self, line: str) -> str:
        """Type a line at the prompt; what is on the screen below it at the next one."""
        self.until_prompt()
        seen = len(self.screen.everything)
        self.type(f"{line}{ENTER}")
        self.until(lambda screen: len(screen.everything) > seen and screen.takes_paste and screen.text[-1] == ">", line)
        return "\n".join(self.screen.everything[seen:-1])

    def resize(self, lines: int, columns: int) -> None:
        """What a window does whose size was changed."""
        self.screen.resize(lines, columns)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    def finish(self) -> int:
        """The exit code, once all that was written has been read."""
        deadline = time.monotonic() + TIMEOUT
        while self._feed(0.05) or self.process.poll() is None:
            assert time.monotonic() < deadline, self._shown()
        return self.exit_code()

    def _holds(self, condition: str | Callable[[Screen], object]) -> bool:
        if isinstance(condition, str):
            return condition in "\n".join(self.screen.text)
        return bool(condition(self.screen))

    def _feed(self, seconds: float) -> bool:
        """Puts on the screen what was written, waiting a little for it; False if there was nothing."""
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux: every other end of the terminal is closed
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)

    def _shown(self) -> str:
        return "\n".join(f"|{line}" for line in self.screen.everything)


def drawn(pieces: Sequence[str], columns: int, lines: int = 100) -> Screen:
    """The screen after an answer in Markdown came in these pieces."""
    from pyruntime.cli.chat.markdown import MarkdownAnswer

    screen = Screen(columns, lines)
    stream = pyte.Stream(screen)
    answer = MarkdownAnswer(lambda text: stream.feed(text.replace("\n", "\r\n")), lambda: columns)
    for piece in pieces:
        answer.write(piece)
    answer.end()
    return screen
