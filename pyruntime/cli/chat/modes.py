"""The terminal's modes while a chat runs on it, and their return to what they were, whatever ends the chat."""

from __future__ import annotations

import base64
import os
import signal
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from pyruntime.cli.terminal import moves_cursor

# No paste marks, the plain style, a cursor that is seen, and nothing behind it.
_RESTORED = b"\x1b[?2004l\x1b[0m\x1b[?25h\x1b[J"


@contextmanager
def kept_sane() -> Iterator[None]:
    """The end of the chat finds the terminal as it was before, a signal that ends the process as well."""
    fd = sys.stdin.fileno()
    modes = termios.tcgetattr(fd)

    def leave(number: int, _: FrameType | None) -> None:
        with suppress(OSError, termios.error):  # a terminal that has gone needs nothing
            termios.tcsetattr(fd, termios.TCSANOW, modes)
            if moves_cursor():
                os.write(fd, _RESTORED)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSADRAIN, modes)
        for number, handler in before.items():
            signal.signal(number, handler)


def without_echo() -> None:
    """From here on keys are kept for who reads them next, and not shown by the terminal itself. A line editor shows them:
    with the terminal's echo, those typed just before it starts would come twice."""
    fd = sys.stdin.fileno()
    modes = termios.tcgetattr(fd)
    termios.tcsetattr(fd, termios.TCSADRAIN, [*modes[:3], modes[3] & ~termios.ECHO, *modes[4:]])


@contextmanager
def answering() -> Iterator[None]:
    """While an answer is written: keys are not echoed into it, but kept for the next prompt; and Ctrl-C stops it once,
    so that a second one cannot disturb what follows the first."""
    fd = sys.stdin.fileno()
    modes = termios.tcgetattr(fd)
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            raise KeyboardInterrupt

    default = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a parent may have it ignored
    try:
        without_echo()
        if default:
            signal.signal(signal.SIGINT, stop)
        yield
    finally:
        stopped = True  # one that comes here is too late to stop anything
        termios.tcsetattr(fd, termios.TCSADRAIN, modes)
        if default:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def copy(text: str) -> None:
    """Puts a text into the clipboard of the terminal, if it allows that: OSC 52, in base64, so that none of it is obeyed."""
    encoded = base64.b64encode(text.encode()).decode()
    sys.stdout.write(f"\x1b]52;c;{encoded}\x07")
    sys.stdout.flush()
