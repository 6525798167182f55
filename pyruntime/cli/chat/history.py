"""What was typed in earlier chats: a file of one JSON text a line, which its owner alone may read."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

from pyruntime.files import home_folder, replacing

MAX_ENTRIES = 1000
MAX_ENTRY_BYTES = 16 << 10  # a pasted document is no line to come back to
MAX_BYTES = 1 << 20  # of the file; a longer one is cut to its end


def history_file() -> Path:
    """`history` in `$PYRUNTIME_HOME`; else in `pyruntime` in `$XDG_STATE_HOME` or `~/.local/state`. OSError without a home."""
    return home_folder("XDG_STATE_HOME", ".local", "state") / "history"


class History:
    """The entries of the file, oldest first, and its growth. Several chats may append to it at once."""

    def __init__(self, path: Path) -> None:
        """OSError where it cannot be read and written."""
        self.path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        with os.fdopen(handle, "rb") as file:
            os.fchmod(handle, 0o600)
            size = os.fstat(handle).st_size
            file.seek(max(0, size - MAX_BYTES))
            data = file.read(MAX_BYTES)
            lines = data.splitlines()
            if lines and not data.endswith(b"\n"):  # a disk was full
                os.write(handle, b"\n")
        found = [entry for entry in map(_entry, lines) if entry]
        self.entries = found[-MAX_ENTRIES:]
        if size > MAX_BYTES or len(lines) > 2 * MAX_ENTRIES:  # seldom, not at each start
            with replacing(path) as file:
                file.writelines(map(_line, self.entries))

    def add(self, text: str) -> None:
        """Appends an entry, with one write; OSError as `write`."""
        line = _line(text)
        if len(line) > MAX_ENTRY_BYTES or (self.entries and self.entries[-1] == text):
            return
        self.entries.append(text)
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        try:
            if os.write(handle, line) < len(line):  # the rest would fail; the next chat drops the half line
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(handle)


def _line(text: str) -> bytes:
    return json.dumps(text).encode() + b"\n"


def _entry(line: bytes) -> str:
    """The text of a line; empty for a damaged one, such as the half line that a crash or a cut has left."""
    try:
        entry = json.loads(line)
        entry.encode()
    except (ValueError, RecursionError, AttributeError):
        return ""
    return str(entry)
