"""Numbers, names, tables and paragraphs as the verbs print them.

A width is that of the terminal, None where there is none: then a row or a paragraph is one line, however long.
"""

import re
import unicodedata
from collections.abc import Sequence

_LEAST = 20  # columns beside the heads of paragraphs; where there are fewer, the texts begin right after them


def size(n_bytes: int) -> str:
    """As disks and downloads are measured: 1 MB is 10**6 bytes."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def visible(text: str) -> str:
    """Text out of a file's name or of a file, on one line and without what a terminal obeys."""
    return text if text.isprintable() else repr(text)


def wrapped(text: str, width: int | None, hang: int = 2, head: str = "") -> list[str]:
    """A text in lines, broken at its spaces: the first after `head`, the others `hang` columns from the left. A word that is
    longer, such as a path, is left to the terminal to break: it can be copied then."""
    lines = [head]
    for i, word in enumerate(re.findall(" *[^ ]+", text)):
        if i and width is not None and cells(lines[-1] + word) > width:
            lines.append(" " * hang + word.lstrip(" "))
        else:
            lines[-1] += word
    return lines


def paragraphs(rows: Sequence[tuple[str, str]], width: int | None) -> list[str]:
    """Texts beside their heads, which have a column of their own. A head that is the same as the one before is left out."""
    indent = max(len(head) for head, _ in rows) + 2
    if width is not None and width - indent < _LEAST:
        indent = 0
    heads = ["", *(head for head, _ in rows)]
    return [
        line
        for before, (head, text) in zip(heads, rows, strict=False)
        for line in wrapped(text, width, indent or 2, f"{'' if head == before else head + '  ':<{indent}}")
    ]


def columns(rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset(), width: int | None = None) -> list[str]:
    """Rows with their cells as wide as their column needs; columns of `right` stand on the right of theirs. Rows too long for the
    width go on below, two columns further right, all of them from the same column on."""
    shown = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(cells, column)) for column in zip(*shown, strict=True)]
    gap, breaks = _layout(widths, width)
    lines = []
    for row in shown:
        line = ""
        for i, (cell, n) in enumerate(zip(row, widths, strict=True)):
            if i in breaks:
                lines += wrapped(line.rstrip(), width)
                line = "  "
            padding = " " * (n - cells(cell))
            line += (padding + cell if i in right and i not in breaks else cell + padding) + gap
        lines += wrapped(line.rstrip(), width, hang=4 if breaks else 2)
    return lines


def _layout(widths: Sequence[int], width: int | None) -> tuple[str, set[int]]:
    """What stands between two columns, and those that begin a line."""
    if width is None:
        return "  ", set()
    for gap in (2, 1):
        if sum(widths) + gap * (len(widths) - 1) <= width:
            return " " * gap, set()
    breaks, used = set(), 0
    for i, n in enumerate(widths):
        if i and used + n > width:
            breaks.add(i)
            used = 2
        used += n + 2
    return "  ", breaks


def cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)
