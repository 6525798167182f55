"""A table of Markdown, drawn once all its rows are there: the widths of its columns depend on all of them."""

from __future__ import annotations

import io
import re
from typing import Literal

from pyruntime.cli.chat.inline import Style, spans

MAX_ROWS = 100  # a longer one is drawn in parts
MAX_COLUMNS = 32
MIN_CELL = 4  # columns of text: two wide characters; in a narrower window a table is shown as its source
_FRAME = 3  # columns of a cell beside its text
_CELL = re.compile(r"(?:\\.|`[^`]*`|[^|\\])*")
_SEPARATOR = re.compile(r":?-+:?$")
_RICH = {"code": "cyan"}  # our names of styles that are not rich's own


class Table:
    """The lines of a table as they come: the head, the separator with the alignments, the rows."""

    def __init__(self) -> None:
        self.source: list[str] = []

    def add(self, line: str) -> bool:
        """Takes a line; False where the table has enough of them."""
        if len(self.source) >= MAX_ROWS:
            return False
        self.source.append(line)
        return True

    @property
    def is_table(self) -> bool:
        """Whether the lines are one, by their second."""
        if len(self.source) < 2:
            return False
        head, separator = _cells(self.source[0]), _cells(self.source[1])
        return len(head) == len(separator) <= MAX_COLUMNS and all(map(_SEPARATOR.match, separator))

    def fits(self, width: int) -> bool:
        """Whether so many columns leave each cell a few for its text."""
        return len(_cells(self.source[0])) * (MIN_CELL + _FRAME) + 1 <= width

    def render(self, width: int) -> str:
        """Lines of at most `width` columns; cells that are longer are wrapped."""
        from rich import box
        from rich.console import Console
        from rich.table import Table as Drawn
        from rich.text import Text

        def text(cell: str, style: Style) -> Text:
            found, _ = spans(cell, 0, True, style)
            return Text.assemble(
                *((part.text, " ".join(_RICH.get(s, s) for s in sorted(part.style))) for part in found)
            )

        head, separator = _cells(self.source[0]), _cells(self.source[1])
        drawn = Drawn(box=box.ROUNDED, border_style="dim")
        for cell, line in zip(head, separator, strict=True):
            drawn.add_column(text(cell, frozenset(("bold",))), justify=_alignment(line), overflow="fold")
        for line in self.source[2:]:
            row = _cells(line)[: len(head)]
            drawn.add_row(*(text(cell, frozenset()) for cell in row))
        out = io.StringIO()
        console = Console(file=out, width=width, force_terminal=True, color_system="standard", legacy_windows=False)
        console.print(drawn)
        return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


def _cells(line: str) -> list[str]:
    """The cells of a row: between the bars that are neither escaped nor inside of code."""
    inner = line.strip().removeprefix("|")
    if inner.endswith("|") and not inner.endswith("\\|"):
        inner = inner[:-1]
    cells, at = [], 0
    while True:
        cell = _CELL.match(inner, at)
        assert cell is not None
        cells.append(cell[0].strip())
        at = cell.end() + 1
        if at > len(inner):
            return cells


def _alignment(separator: str) -> Literal["left", "center", "right"]:
    if separator.endswith(":"):
        return "center" if separator.startswith(":") else "right"
    return "left"
