"""Markdown on a terminal, as it comes: every line is styled once, as soon as it is certain what it is.

Line breaks stay where the model made them: its lists, poems and addresses mean them. Headings, lists, quotes, rules, tables
and fenced code are known by how a line begins; what is not known is text, and is shown as it is. No character of the text
is obeyed as an escape sequence, markup of rich, or a link.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

from pyruntime.cli.chat.code import Highlighter
from pyruntime.cli.chat.inline import PLAIN, Style, spans
from pyruntime.cli.chat.table import Table
from pyruntime.cli.chat.wrap import Wrapped
from pyruntime.cli.terminal import printable, width_of

_DIM: Style = frozenset(("dim",))
_BOLD: Style = frozenset(("bold",))
_TITLE: Style = frozenset(("bold", "underline"))
# What a line may begin with and still become one of the below, once more of it is there.
_UNCERTAIN = re.compile(r"\s*(#{1,6}\s*|[-*+_=\s]*|\d{1,3}([.)]\s*)?|>[>\s]*|`+|~+)?$")
_HEADING = re.compile(r"\s{0,3}(#{1,6})\s+")
_ITEM = re.compile(r"(\s*)([-*+]|\d{1,3}[.)])\s+(?=\S)")
_QUOTE = re.compile(r"\s{0,3}((?:>\s?)+)")
_FENCE = re.compile(r"(\s*)(`{3,}|~{3,})\s*([^`\s]*)[^`]*$")
_RULE = re.compile(r"\s{0,3}(?:(?:-\s*){3,}|(?:\*\s*){3,}|(?:_\s*){3,})$")
_MAX_RULE = 60  # columns


def _columns() -> int:
    return width_of(sys.stdout) or 80


class MarkdownAnswer:
    """The model's text on its way to a terminal that can style it; see `pyruntime.cli.terminal.Answer` for the others.

    One write a piece, with every style ended in it: Ctrl-C never leaves the terminal in a state.
    """

    def __init__(self, write: Callable[[str], object] | None = None, columns: Callable[[], int] = _columns) -> None:
        self._page = Wrapped(write or _to_stdout, columns)
        self._held = ""  # text of which it is not certain yet what it is
        self._at = 0  # in _held: from where on it has not been shown, while inside a line
        self._inside: Style | None = None  # the style of the line of text that has begun
        self._code: Highlighter | None = None
        self._table: Table | None = None
        self._blank = False  # whether an empty line is due before the next one that is not
        self._began = False
        self._thinking = False

    def think(self, piece: str) -> None:
        """What the model thinks first: dim, and as it is."""
        for i, line in enumerate(printable(piece).split("\n")):
            if i:
                self._page.newline()
            self._page.text(line, _DIM)
        self._thinking = self._thinking or bool(piece)
        self._page.flush()

    def write(self, piece: str) -> None:
        if not piece:
            return
        if self._thinking:
            self._thinking = False
            self._page.newline()
            self._page.newline()
        self._held += printable(piece)
        self._consume(whole=False)
        self._page.flush(self._held[self._at :].partition("\n")[0])

    def end(self) -> None:
        """Shows what was held back, and ends the last line."""
        self._consume(whole=True)
        if self._code:
            self._end_code()
        if self._table:
            self._end_table()
        if not self._page.at_start:
            self._page.newline()
        self._page.flush()

    def _consume(self, whole: bool) -> None:
        """Shows what is certain of the text held; `whole`: no more comes, and all of it is."""
        while self._held:
            line, newline, rest = self._held.partition("\n")
            ended = bool(newline) or whole
            if not (self._text(line, ended) if self._inside is not None else self._line(line, ended)):
                return
            self._held, self._at = rest, 0

    def _text(self, line: str, ended: bool) -> bool:
        """The rest of a line of text; whether the line is done with."""
        assert self._inside is not None
        found, self._at = spans(line, self._at, ended, self._inside)
        for text, style in found:
            self._page.text(text, style)
        if ended:
            self._page.newline()
            self._inside = None
        return ended

    def _line(self, line: str, ended: bool) -> bool:
        """A line at its beginning; whether it is done with. If not, it is held, or has become a line of text."""
        if self._code:
            return ended and self._code_line(line)
        if line.startswith("|"):
            return ended and self._table_line(line)
        if not ended and _UNCERTAIN.match(line):
            return False
        if self._table:
            self._end_table()
        if not line.strip():
            self._blank = self._began
            return True
        if (line.lstrip()[:3] in ("```", "~~~") or _RULE.match(line)) and not ended:
            return False
        self._space()
        if fence := _FENCE.match(line):
            self._code = Highlighter(fence[1], fence[2], fence[3])
            self._rule(fence[3])
            return True
        if _RULE.match(line):
            self._rule()
            return True
        self._begin(line)
        return self._text(line, ended)

    def _begin(self, line: str) -> None:
        """Begins a line of text, after what its beginning means."""
        self._inside = PLAIN
        if heading := _HEADING.match(line):
            self._inside, self._at = _TITLE if len(heading[1]) == 1 else _BOLD, heading.end()
        elif item := _ITEM.match(line):
            indent, mark = item.groups()
            self._page.begin(indent, f"{mark if mark[0].isdigit() else '•'} ")
            self._at = item.end()
        elif quote := _QUOTE.match(line):
            self._page.begin("", "│ " * quote[1].count(">"), _DIM, repeated=True)
            self._at = quote.end()
        else:
            self._at = len(line) - len(line.lstrip())
            self._page.begin(line[: self._at])

    def _space(self) -> None:
        """The empty line that is due."""
        if self._blank:
            self._page.newline()
        self._blank, self._began = False, True

    def _rule(self, name: str = "") -> None:
        label = f"── {name} " if name else ""
        self._page.text(label + "─" * (min(self._page.width, _MAX_RULE) - len(label)), _DIM)
        self._page.newline()

    def _code_line(self, line: str) -> bool:
        assert self._code is not None
        if self._code.closed_by(line):
            self._end_code()
        else:
            self._page.lines(self._code.line(line))
        return True

    def _end_code(self) -> None:
        assert self._code is not None
        if not self._code.is_empty:  # for nothing one is enough: small models like to end with a stray fence
            self._rule()
        self._code = None

    def _table_line(self, line: str) -> bool:
        if self._table is None:
            self._table = Table()
        if not self._table.add(line):
            self._end_table()
            return self._table_line(line)
        return True

    def _end_table(self) -> None:
        assert self._table is not None
        table, self._table = self._table, None
        self._space()
        if table.is_table and table.fits(self._page.width):
            self._page.lines(table.render(self._page.width))
            return
        for line in table.source:
            self._inside, self._at = PLAIN, 0
            self._text(line, True)
            self._at = 0


def _to_stdout(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
