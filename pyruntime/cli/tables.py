"""Numbers and names as the verbs print them."""

from collections.abc import Sequence


def size(n_bytes: int) -> str:
    """As disks and downloads are measured: 1 MB is 10**6 bytes."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def visible(text: str) -> str:
    """Text out of a file's name or of a file, on one line and without what a terminal obeys."""
    return text if text.isprintable() else repr(text)


def columns(rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> list[str]:
    """A line for each row, its cells as wide as their column needs; columns of `right` stand on the right of theirs."""
    shown = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in shown
    ]
