"""What stands between the program and the terminal: streams in UTF-8, messages on stderr, the answer on stdout.

A model's text, a file's name and its metadata are a stranger's: no control sequence of theirs reaches a terminal.
"""

import io
import os
import sys
from contextlib import suppress
from typing import Self, TextIO

_CONTROLS = [*range(0x20), 0x7F, *range(0x80, 0xA0)]  # C0, DEL, C1
_REMOVED = {code: None for code in _CONTROLS if chr(code) not in "\n\t"}
_ESCAPED = {code: f"\\x{code:02x}" for code in _CONTROLS}

_quiet = False


def printable(text: str) -> str:
    """`text` without control characters, but for newlines and tabs.

    One character at a time, so that it does not matter where a stream was cut; without its ESC a sequence is only text.
    """
    return text.translate(_REMOVED)


def moves_cursor() -> bool:
    """Whether the terminal, where there is one, knows more than lines."""
    return os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def width_of(stream: TextIO) -> int | None:
    """The columns of the terminal that a stream goes to; None where it goes elsewhere, or the terminal does not tell."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):  # ValueError: a stream that is closed
        return None


def styles(stream: TextIO) -> bool:
    """Whether a stream goes to a terminal that takes colours, and whose owner wants them (https://no-color.org)."""
    return stream.isatty() and moves_cursor() and not os.environ.get("NO_COLOR")


def prepare_streams() -> None:
    """UTF-8 whatever the locale says, and something to write to and read from where the caller closed a stream."""
    wanted = (("stdin", "r", "replace"), ("stdout", "w", "replace"), ("stderr", "w", "backslashreplace"))
    for name, mode, errors in wanted:
        stream = getattr(sys, name)
        if stream is None:  # `2>&-`: print() would fall back to stdout, and the next open() would get the descriptor
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)


def say(text: str, dim: bool = False) -> None:
    """One line on stderr, with control characters escaped, dim where that can be; nothing fails when nobody listens."""
    shown = text.translate(_ESCAPED)
    with suppress(OSError, ValueError):
        print(f"\x1b[2m{shown}\x1b[0m" if dim and styles(sys.stderr) else shown, file=sys.stderr, flush=True)


def note(text: str, dim: bool = False) -> None:
    """One line on stderr that is no error, as `say`; with --quiet nothing."""
    if not _quiet:
        say(text, dim)


def be_quiet(quiet: bool) -> None:
    """Whether what is neither the answer nor an error is kept back from here on: notes, progress, remarks."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    return _quiet


def say_error(message: str, debug: bool) -> None:
    """The one line of the error at hand, after its traceback if that is wanted."""
    if debug:
        import traceback

        for line in traceback.format_exc().splitlines():
            say(line)
    say(f"pyruntime: {message}")


def show(text: str) -> None:
    """Text of several lines on stderr, its other control characters escaped; nothing fails when nobody listens."""
    shown = text.translate({code: escape for code, escape in _ESCAPED.items() if code in _REMOVED})
    with suppress(OSError, ValueError):
        print(shown, file=sys.stderr, flush=True)


class Answer:
    """The model's text on its way to stdout, piece by piece: as it is in a pipe, made printable on a terminal.

    What the model thinks first is shown on a terminal alone, dim and with an empty line after it.
    """

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._dim = styles(sys.stdout)
        self._last = ""
        self._thinking = False

    def write(self, piece: str) -> None:
        if self._thinking and piece:
            self._thinking = False
            self._put("\n\n")
        self._put(piece)

    def think(self, piece: str) -> None:
        if self._live and piece:
            self._thinking = True
            self._put(piece, "\x1b[2m{}\x1b[22m" if self._dim else "{}")

    def end(self) -> None:
        """The newline that ends the last line, unless the text brought one."""
        if self._last != "\n":
            self._put("\n")

    def _put(self, piece: str, form: str = "{}") -> None:
        shown = printable(piece) if self._live else piece
        if shown:
            # One write a piece, ended dim and all: Ctrl-C never leaves the terminal in a state.
            sys.stdout.write(form.format(shown))
            sys.stdout.flush()
            self._last = shown[-1]


class FetchReport:
    """Shows a fetch on stderr: one line, and on a terminal a bar under it. See `pyruntime.fetch.Report`."""

    _WIDTH = 30

    def __init__(self) -> None:
        self._live = sys.stderr.isatty() and not is_quiet()
        self._open = False  # a bar is on the current line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._open:
            say("")

    def note(self, text: str) -> None:
        if self._open:
            self._open = False
            say("")
        note(text)

    def progress(self, done: int, total: int) -> None:
        if not self._live:
            return
        share = min(done / total, 1.0) if total else 1.0
        bar = "#" * int(share * self._WIDTH)
        line = f"  [{bar:-<{self._WIDTH}}] {share:4.0%}  {min(done, total) / 1e6:.1f} of {total / 1e6:.1f} MB "
        if width := width_of(sys.stderr):
            line = line[: width - 1]  # one that wraps would leave a line each time
        with suppress(OSError):
            sys.stderr.write(f"\r{line}")
            sys.stderr.flush()
        self._open = True
