"""Downloads from the Hugging Face hub, into the cache that other tools share (`pyruntime.hub` has its layout).

The bytes are read here, with huggingface_hub's HTTP client: the library's own download compares no checksum and, from
version 2 on, begins an interrupted file anew. A file gets its name in the cache only after its checksum was right.
"""

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import quote

from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import get_session, hf_raise_for_status

from pyruntime import hub, hub_api
from pyruntime.errors import FetchError, shown, shown_name
from pyruntime.fetch import Failed, Report, Silent, check_room, hash_file
from pyruntime.files import lock
from pyruntime.hub_api import Listing, Remote

_CHUNK = 1 << 20
_RETRIES = 5  # in a row without a byte between them
_TELL_SECONDS = 0.1
_WAIT_SECONDS = 1.0  # before the first; one more before each next


class Unreachable(FetchError):
    """The hub cannot be asked: offline, or no connection."""


def download(name: hub.Name, report: Report | None = None, check: bool = False) -> tuple[hub.Pulled, ...]:
    """The files in the cache of the model that `name` means on the hub, its parts in order, downloaded where missing.

    An interrupted download goes on where it stopped. With `check`, the checksum of what is there is compared too, and a
    damaged file is fetched again. Raises FetchError; what came of the file until then stays, for the next attempt.
    """
    report = report or Silent()
    folder = hub.repo_folder(name.repo)
    try:
        with hub_api.quiet():
            listing = hub_api.listing(name)
            parts = [listing.files[path] for path in hub.choose(name, listing.files)]
            pulled = _Download(name, folder, listing, report, check).run(parts)
            _write_ref(folder, name.revision or "main", listing.commit)
    except hub.NoSuchModel as error:
        raise FetchError(f"cannot fetch {name}: the repository {error}") from None
    except (OfflineModeIsEnabled, HTTPError) as error:
        kind = FetchError if isinstance(error, HfHubHTTPError) else Unreachable
        raise kind(f"cannot fetch {name}: {hub_api.reason(error, name)}") from error
    except OSError as error:
        reason = f"{error.filename or folder}: {error.strerror or error}: set HF_HOME to another folder"
        raise FetchError(f"cannot fetch {name}: {reason}") from error
    except Failed as error:
        raise FetchError(f"cannot fetch {name}: {error}") from None
    return tuple(pulled)


# What it takes to have it


class _Download:
    """The download of one model's files into its repository's folder in the cache."""

    def __init__(self, name: hub.Name, folder: Path, listing: Listing, report: Report, check: bool) -> None:
        self._name = name
        self._folder = folder
        self._listing = listing
        self._report = report
        self._check = check

    def run(self, parts: list[Remote]) -> list[hub.Pulled]:
        missing = [part for part in parts if not self._is_there(part)]
        if missing:
            total = sum(part.size for part in missing)
            there = sum(_size(self._partial(part)) for part in missing)
            went_on = f", {there / 1e6:.0f} MB of it are there" if there else ""
            what = shown_name(missing[0].path) + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            self._report.note(
                f"fetching {what} of {self._name.repo} ({total / 1e6:.0f} MB, {self._listing.licence}{went_on}) "
                f"from {shown_name(hub_api.host())}"
            )
            self._blob(missing[0]).parent.mkdir(parents=True, exist_ok=True)
            check_room(self._folder, total - there)
            done = 0
            for part in missing:
                self._fetch(part, lambda size, done=done: self._report.progress(done + size, total))  # type: ignore[misc]
                done += part.size
        for part in parts:
            self._link(part)
        return [hub.Pulled(self._pointer(part), part.sha256 if self._check else "") for part in parts]

    def _blob(self, part: Remote) -> Path:
        return self._folder / "blobs" / part.digest

    def _partial(self, part: Remote) -> Path:
        return self._folder / "blobs" / f"{part.digest}{hub.PARTIAL}"

    def _pointer(self, part: Remote) -> Path:
        return self._folder / "snapshots" / self._listing.commit / part.path

    def _is_there(self, part: Remote) -> bool:
        for path in (self._blob(part), self._pointer(part)):
            if path.is_file() and path.stat().st_size == part.size:
                if not self._check or _digest_of(path, part, self._report) == part.digest:
                    return True
                self._report.note(f"{shown_name(part.path)} in the cache is damaged: it is fetched again")
                path.unlink()
        return False

    def _fetch(self, part: Remote, progress: Callable[[int], None]) -> None:
        """Make the blob of `part`, beside its place and under a lock."""
        with _partial_file(self._partial(part), lambda: self._report.note(_waiting(part))) as file:
            try:
                if not self._is_there(part):  # another process may have fetched it while this one waited
                    url = f"{constants.ENDPOINT}/{self._name.repo}/resolve/{self._listing.commit}/{quote(part.path)}"
                    _read_into(file, url, part, progress)
                    os.replace(file.name, self._blob(part))
                else:
                    os.unlink(file.name)
            except (Failed, OSError) as error:
                if _is_worthless(error):
                    os.unlink(file.name)
                raise

    def _link(self, part: Remote) -> None:
        """The file's name in its snapshot: a link to the blob or, where the disk has no links, the blob itself."""
        blob, pointer = self._blob(part), self._pointer(part)
        target = os.path.relpath(blob, pointer.parent)
        if not blob.is_file() or (pointer.is_symlink() and os.readlink(pointer) == target):
            return
        pointer.parent.mkdir(parents=True, exist_ok=True)
        beside = pointer.with_name(f".{pointer.name}.{os.getpid()}")
        try:
            os.symlink(target, beside)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            beside = blob
        os.replace(beside, pointer)


def _write_ref(folder: Path, revision: str, commit: str) -> None:
    """Note which commit a branch or tag was, so that the cache finds its snapshot by it."""
    if revision == commit:
        return
    path = folder / "refs" / revision
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(commit)
    os.replace(beside, path)


@contextmanager
def _partial_file(path: Path, waiting: Callable[[], None]) -> Iterator[IO[bytes]]:
    """The file at `path`, made if it is not there, and locked; `waiting` is called if another process has the lock."""
    while True:
        with path.open("a+b") as file:
            if not lock(file, wait=False):
                waiting()
                lock(file, wait=True)
            if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                yield file
                return
        # Whoever held the lock has renamed or removed the file: this one would be of nobody's name.


def _waiting(part: Remote) -> str:
    return f"another process is fetching {shown_name(part.path)}: waiting for it"


# The bytes


def _read_into(file: IO[bytes], url: str, part: Remote, progress: Callable[[int], None]) -> None:
    """Complete `file`, which may have the beginning already, and check it; connections that break are made again."""
    file.seek(0)
    state = _Received(file, part)
    while chunk := file.read(_CHUNK):
        state.digest.update(chunk)
        state.size += len(chunk)
    if state.size > part.size:
        state.restart()
    progress(state.size)
    failures = 0
    while state.size < part.size:
        before = state.size
        reason: Exception | None = None
        try:
            _read_response(url, state, progress)
        except HfHubHTTPError as error:
            if error.response.status_code < 500:
                raise
            reason = error
        except HTTPError as error:
            reason = error
        failures = 1 if state.size > before else failures + 1
        if state.size < part.size:
            if failures > _RETRIES:
                raise reason or Failed("the connection ends before the file does: the same command goes on from there")
            time.sleep(_WAIT_SECONDS * failures)
    progress(state.size)
    file.flush()
    os.fsync(file.fileno())  # a power cut must not leave a file of the right name and size, and of zeros
    if state.digest.hexdigest() != part.digest:
        raise _Worthless(f"{shown_name(part.path)} came with the wrong checksum and was removed: try again")


class _Received:
    """What has come of a file: its bytes are in `file`, and their checksum in `digest`."""

    def __init__(self, file: IO[bytes], part: Remote) -> None:
        self.file = file
        self.part = part
        self.size = 0
        self.digest = _new_digest(part)

    def restart(self) -> None:
        self.file.truncate(0)
        self.size = 0
        self.digest = _new_digest(self.part)

    def add(self, chunk: bytes) -> None:
        if self.size + len(chunk) > self.part.size:
            raise _Worthless(f"{shown_name(self.part.path)} is longer than the hub said and was removed: try again")
        self.file.write(chunk)
        self.digest.update(chunk)
        self.size += len(chunk)


def _read_response(url: str, state: _Received, progress: Callable[[int], None]) -> None:
    headers = hub_api.headers() | ({"range": f"bytes={state.size}-"} if state.size else {})
    with get_session().stream("GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT) as response:
        hf_raise_for_status(response)
        if response.status_code != 206:  # the server does not go on from somewhere: it begins at the beginning
            state.restart()
        elif not response.headers.get("content-range", "").startswith(f"bytes {state.size}-"):
            raise Failed(f"the server sent another part of the file, {shown(response.headers.get('content-range'))}")
        told = 0.0
        for chunk in response.iter_raw():  # as it comes: what waits for a whole chunk is lost when the connection is
            state.add(chunk)
            if time.monotonic() - told > _TELL_SECONDS:
                told = time.monotonic()
                progress(state.size)


def _new_digest(part: Remote) -> "hashlib._Hash":
    if part.sha256:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % part.size, usedforsecurity=False)  # a small file: git's own name for it


def _digest_of(path: Path, part: Remote, report: Report) -> str:
    report.note(f"checking {shown_name(part.path)}")
    return hash_file(path, _new_digest(part), lambda done: report.progress(done, part.size))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


class _Worthless(Failed):
    """A failure after which what came is of no use to the next attempt."""


def _is_worthless(error: Exception) -> bool:
    """On a full disk what came is given back, as well: nobody may ever ask for the rest."""
    return isinstance(error, _Worthless) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
