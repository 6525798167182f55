"""Text that is written once, word by word, into the lines of a terminal.

What was written is never touched again, so there is nothing to flicker and nothing that a new size of the window could
break. What is not certain yet is shown behind the cursor, which stays where the certain text ends: erasing all that is
behind it takes the preview away, however the terminal has wrapped it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby

from pyruntime.cli.chat.inline import PLAIN, Span, Style

_CODES = {"bold": "1", "dim": "2", "italic": "3", "underline": "4", "strike": "9", "code": "36"}
_ERASE_BELOW = "\x1b[J"
_NOT_FIRST = frozenset("、。，．！？；：」』）】〉》ー…,.!?;:)]}")  # these do not begin a line
_AGREED = "\U0001f000"  # from here on terminals differ in how wide a character is, and before a joiner or a selector
_MIN_WIDTH = 8
_MIN_HEAD = 5  # columns: a bullet, or a number such as "100. "


def styled(spans: Iterable[Span]) -> str:
    """The text with its styles begun and ended: wherever the output is cut, the terminal is left as it was."""
    parts = []
    for style, run in groupby(spans, key=lambda span: span.style):
        text = "".join(span.text for span in run)
        codes = ";".join(_CODES[name] for name in _CODES if name in style)
        parts.append(f"\x1b[{codes}m{text}\x1b[0m" if codes else text)
    return "".join(parts)


class Wrapped:
    """The end of the output: a line with so many columns written, and a word that waits for its end."""

    def __init__(self, write: Callable[[str], object], columns: Callable[[], int]) -> None:
        from prompt_toolkit.utils import get_cwidth

        self._cells = get_cwidth  # cached by character, and by short word
        self._write = write
        self._columns = columns
        self._out: list[Span] = []
        self._column = 0
        self._hanging = ""  # what begins the next line of this paragraph
        self._word: list[Span] = []  # a character each
        self._word_cells = 0
        self._spaces: list[Span] = []
        self._previewed = False
        self._measure()

    def _measure(self) -> None:
        # One column stays free: behind the last one, terminals differ in what erasing does.
        usable = self._columns() - 1
        self.width = max(_MIN_WIDTH, usable)
        self._previews = usable >= _MIN_WIDTH  # or the terminal itself would wrap what is to be erased

    @property
    def at_start(self) -> bool:
        """Whether nothing stands on the line."""
        return self._column == 0 and not self._word and not self._spaces

    def begin(self, indent: str, mark: str = "", style: Style = PLAIN, *, repeated: bool = False) -> None:
        """Begins a line with white space, which in a narrow window gives way to the text, and a mark. Where the line is
        wrapped, the next ones begin as far right, with the mark again if it is repeated."""
        limit = max(_MIN_HEAD, self.width // 2)
        mark = mark[:limit]
        spaces = " " * min(self._cells(indent.expandtabs(4)), limit - len(mark))
        self._put(spaces, PLAIN)
        self._put(mark, style)
        self._hanging = spaces + (mark if repeated else " " * len(mark))

    def text(self, text: str, style: Style = PLAIN) -> None:
        """Adds text without newlines. Wide characters, which need no space between them, are words of their own."""
        for char in text:
            if char in " \t":
                self._end_word()
                self._spaces.append(Span(" ", style))
                continue
            cells = self._cells(char)
            wide = cells > 1 or (cells and self._word and self._cells(self._word[-1].text) > 1)
            if wide and char not in _NOT_FIRST:
                self._end_word()
            self._word.append(Span(char, style))
            self._word_cells += cells

    def newline(self) -> None:
        """Ends the line, with the spaces at its end left out."""
        self._end_word()
        self._spaces.clear()
        self._hanging = ""
        self._out.append(Span("\n", PLAIN))
        self._column = 0

    def lines(self, text: str) -> None:
        """Adds whole lines as they are, escape sequences and all; the line at hand must be empty."""
        self._out.append(Span(text if text.endswith("\n") else f"{text}\n", PLAIN))

    def flush(self, preview: str = "", style: Style = frozenset(("dim",))) -> None:
        """Writes all that is certain, and behind the cursor as much of the rest as fits its line."""
        self._measure()
        shown, cells = self._shown(preview, style)
        out = styled(self._out)
        if self._previewed:
            out = _ERASE_BELOW + out
        self._out.clear()
        self._previewed = cells > 0
        if cells:
            out += f"{shown}\x1b[{cells}D"
        if out:
            self._write(out)

    def _shown(self, preview: str, style: Style) -> tuple[str, int]:
        """The word at hand and the beginning of the preview, and the cells that they take."""
        room = self.width - self._column
        if not self._previews or len(self._spaces) + self._word_cells > room:  # the word's place is the next line
            return "", 0
        shown, cells = [], 0
        rest = (Span(" " if char == "\t" else char, style) for char in preview[: max(0, room)])
        for span in (*self._spaces, *self._word, *rest):
            its = self._cells(span.text)
            if cells + its > room or its == 0 or span.text >= _AGREED:
                break
            cells += its
            shown.append(span)
        return styled(shown), cells

    def _end_word(self) -> None:
        if not self._word:
            return
        spaces = len(self._spaces)
        if self._column + spaces + self._word_cells > self.width and self._column > len(self._hanging):
            self._spaces.clear()
            self._break_line()
        for span in (*self._spaces, *self._word):
            if self._column + self._cells(span.text) > self.width:  # a word longer than a line
                self._break_line()
            self._put(*span)
        self._spaces.clear()
        self._word.clear()
        self._word_cells = 0

    def _break_line(self) -> None:
        self._out.append(Span("\n", PLAIN))
        self._column = 0
        self._put(self._hanging, frozenset(("dim",)))

    def _put(self, text: str, style: Style) -> None:
        if text:
            self._out.append(Span(text, style))
            self._column += self._cells(text)
