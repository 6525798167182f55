"""Markdown inside a line, as it comes: emphasis, code, links. What is not understood is text, and stays as it is.

A closed piece, such as `**bold**`, is certain once it is closed; until then the line's rest is held back, so what was shown
never has to be taken back. A piece does not reach over the end of its line, nor is it longer than MAX_HELD.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_HELD = 400  # characters: a mark that is not closed by then is text; it bounds the work on hostile lines too

_N = f"{{1,{MAX_HELD}}}?"
_PIECE = re.compile(
    rf"""
      (?P<ticks>`+) (?!`) (?P<code>[^\n]{_N}) (?<!`)(?P=ticks)(?!`)
    | \*\*\* (?=[^\s*]) (?P<both>[^\n]{_N}) (?<=[^\s*])\*\*\*(?!\*)
    | \*\* (?=[^\s*]) (?P<strong>[^\n]{_N}) (?<=\S)\*\*(?!\*)
    | \* (?=[^\s*]) (?P<emphasis>[^\n]{_N}) (?<=[^\s*])\*(?!\*)
    | (?<!\w)__ (?=[^\s_]) (?P<strong_>[^\n]{_N}) (?<=\S)__(?!\w)
    | (?<!\w)_ (?=[^\s_]) (?P<emphasis_>[^\n]{_N}) (?<=[^\s_])_(?!\w)
    | ~~ (?=[^\s~]) (?P<struck>[^\n]{_N}) (?<=\S)~~(?!~)
    | \[ (?P<label>[^\]\n]{{1,{MAX_HELD}}}) \] \( (?P<target>[^()\s]{{1,{MAX_HELD}}}) \)
    | \\ (?P<escaped>[*_`~\[\]\#|])
    """,
    re.VERBOSE,
)
_OPENING = re.compile(r"[*_`~\[\\]")
_RUN = re.compile(r"\*+|_+|`+|~+|\[|\\")
_STYLES = {
    "both": frozenset(("bold", "italic")),
    "strong": frozenset(("bold",)),
    "strong_": frozenset(("bold",)),
    "emphasis": frozenset(("italic",)),
    "emphasis_": frozenset(("italic",)),
    "struck": frozenset(("strike",)),
}
Style = frozenset[str]
PLAIN: Style = frozenset()


class Span(NamedTuple):
    text: str
    style: Style


def spans(line: str, start: int, whole: bool, style: Style = PLAIN) -> tuple[list[Span], int]:
    """The pieces of `line` from `start` on, and where what is certain of them ends; `whole`: no more of the line comes."""
    found: list[Span] = []
    at = start
    while at < len(line):
        opening = _OPENING.search(line, at)
        until = opening.start() if opening else len(line)
        if until > at:
            found.append(Span(line[at:until], style))
            at = until
            continue
        piece = _PIECE.match(line, at)
        if piece and (whole or piece.end() < len(line)):
            found += _inside(piece, style)
            at = piece.end()
        elif not whole and _may_open(line, at):
            break
        else:
            run = _RUN.match(line, at)
            assert run is not None
            found.append(Span(run[0], style))
            at = run.end()
    return found, at


def _inside(piece: re.Match[str], style: Style) -> list[Span]:
    kind = piece.lastgroup
    if kind == "code":
        code = piece["code"]
        padded = len(code) > 2 and code[0] == code[-1] == " "
        return [Span(code[1:-1] if padded else code, style | {"code"})]
    if kind == "escaped":
        return [Span(piece["escaped"], style)]
    if kind == "target":  # where a link leads is always shown: its label may say anything
        label, _ = spans(piece["label"], 0, True, style | {"underline"})
        target = piece["target"]
        return label if target == piece["label"] else [*label, Span(f" ({target})", style | {"dim"})]
    assert kind is not None
    return spans(piece[kind], 0, True, style | _STYLES[kind])[0]


def _may_open(line: str, at: int) -> bool:
    """Whether the mark at `at`, which nothing closes so far, may yet begin a piece."""
    run = _RUN.match(line, at)
    assert run is not None
    if len(line) - at > MAX_HELD or len(run[0]) > 3:
        return False
    after = line[run.end() : run.end() + 1]
    if run[0][0] in "`[":
        return True
    if run[0][0] == "_" and at > 0 and (line[at - 1].isalnum() or line[at - 1] == "_"):
        return False
    return not after.isspace()
