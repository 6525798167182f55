"""Files and folders of the user's: where they are, and how they are written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pyruntime.errors import UnsupportedError


def home_folder(xdg_variable: str, *xdg_default: str) -> Path:
    """pyruntime's own folder: `$PYRUNTIME_HOME`; else `pyruntime` in the folder that a variable of the XDG specification
    names, or in its default below the home folder. It need not exist. OSError if there is no home."""
    if home := os.environ.get("PYRUNTIME_HOME"):
        return Path(home).absolute()
    base = os.environ.get(xdg_variable, "")
    if os.path.isabs(base):  # the specification says to ignore a relative one
        return Path(base) / "pyruntime"
    try:
        return Path.home().joinpath(*xdg_default, "pyruntime")
    except RuntimeError as error:
        raise OSError(str(error)) from None


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` once it is complete, and on the disk."""
    import tempfile  # 5 ms, which --help does without

    handle, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except BaseException:
        os.unlink(scratch)
        raise


def lock(file: IO[bytes], *, wait: bool) -> bool:
    """Locks an open file against other processes, until it is closed. False if one of them has it locked, and `wait` is not
    set. UnsupportedError where the system has no such locks (Windows)."""
    try:
        import fcntl
    except ImportError:
        raise UnsupportedError("models are not fetched on this system yet: give the path of a file") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
