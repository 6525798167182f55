"""Code between fences, coloured line by line as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.syntax import SyntaxTheme

_MAX_LINES = 50  # that are read once more for the sake of a string or a comment that goes over lines


class Highlighter:
    """The lines of one block of code. They are not wrapped, so that they can be copied as they are."""

    def __init__(self, indent: str, fence: str, language: str) -> None:
        """indent: of the fence; the lines lose as much of theirs. language: a name, perhaps of none that is known."""
        from rich.syntax import Syntax

        self.is_empty = True  # no line of code has come yet
        self._indent = len(indent)
        self._fence = fence
        self._theme: SyntaxTheme = Syntax.get_theme("ansi_dark")  # in the colours that the terminal has
        self._lexer: Any = Syntax("", language[:40]).lexer if language else None
        self._open: list[str] = []  # the lines before, back to where no string or comment was open

    def closed_by(self, line: str) -> bool:
        """Whether the line is the fence that ends the block."""
        mark = line.strip()
        return len(mark) >= len(self._fence) and set(mark) == {self._fence[0]}

    def line(self, line: str) -> str:
        """The line with its colours."""
        self.is_empty = False
        line = line[min(self._indent, len(line) - len(line.lstrip())) :].expandtabs(4)
        if self._lexer is None:
            return line
        # Lexers cannot be asked for their state: a line whose newline is in a string or a comment is read again with the next.
        before = sum(len(other) + 1 for other in self._open)
        self._open.append(line)
        parts, at, kind = [], 0, None
        for at, kind, text in self._lexer.get_tokens_unprocessed("\n".join(self._open) + "\n"):
            shown = text[max(0, before - at) :].rstrip("\n")
            if shown:
                parts.append(self._theme.get_style_for_token(kind).render(shown, color_system=_standard()))
        if not str(kind).startswith(("Token.Literal.String", "Token.Comment")) or len(self._open) >= _MAX_LINES:
            self._open.clear()
        return "".join(parts)


def _standard() -> Any:
    from rich.color import ColorSystem

    return ColorSystem.STANDARD
