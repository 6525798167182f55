"""The models on this machine: what the cache has, how large that is, and how to remove it. Nothing here uses the network.

The cache is two folders: `catalogue.models_folder()`, which is pyruntime's alone, and `hub.cache_folder()`, which other
programs share: there only GGUF files are listed and removed. What a symbolic link leads to outside of them stays.
"""

import os
import shutil
import stat
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pyruntime import catalogue, hub
from pyruntime.errors import FetchError, shown_name
from pyruntime.files import lock


@dataclass(frozen=True)
class Cached:
    """A model in the cache."""

    name: str  # what the command line takes for it
    files: tuple[Path, ...]  # its parts, in order
    bytes: int
    architecture: str | None  # general.architecture; None where the file does not begin with it
    last_used: float  # seconds since 1970; as exactly as the disk keeps it, often to the day

    @property
    def path(self) -> Path:
        return self.files[0]


@dataclass(frozen=True)
class Leftover:
    """What an interrupted download left, or a file that is not what the catalogue says."""

    path: Path
    bytes: int


def models() -> list[Cached]:
    """All models in the cache: those of the catalogue, in its order, those of the hub, and other files, by path."""
    folder = catalogue.models_folder()
    ours = [
        _cached(entry.name, (folder / entry.file,), entry.architecture)
        for entry in catalogue.entries()
        if _size(folder / entry.file) == entry.bytes
    ]
    known = {entry.file for entry in catalogue.entries()}
    others = [
        _cached(str(path), (path,), _architecture(path))  # of another version's catalogue, or the user's own
        for path in sorted(folder.glob("[!.]*.gguf"))
        if path.name not in known and path.is_file()
    ]
    return ours + sorted(_of_hub(), key=lambda model: model.name) + others


def _of_hub() -> Iterator[Cached]:
    """One for each model of each repository, under the shortest name that finds it; older commits by their number."""
    for repo in hub.cached_repos():
        seen = set()
        for snapshot in hub.snapshots(repo):
            for first, parts in hub.models_of(hub.files_of(snapshot)).items():
                files = tuple(snapshot / part for part in parts)
                blobs = tuple(file.resolve() for file in files)
                if (first, blobs) not in seen:  # the same file in another commit
                    seen.add((first, blobs))
                    yield _cached(_hub_name(repo, snapshot, first, files), files, _architecture(files[0]))


def _hub_name(repo: str, snapshot: Path, first: str, files: tuple[Path, ...]) -> str:
    for revision in (None, snapshot.name[:12]):
        by_quant, by_file = hub.Name(repo, revision, quant=hub.quant_of(first)), hub.Name(repo, revision, file=first)
        for name in (by_quant, by_file) if by_quant.quant else (by_file,):
            if hub.find(name) == files:
                return str(name)
    return str(hub.Name(repo, snapshot.name, file=first))


def _cached(name: str, files: tuple[Path, ...], architecture: str | None) -> Cached:
    stats = [file.stat() for file in files]
    used = max(max(status.st_atime, status.st_mtime) for status in stats)
    return Cached(name, files, sum(status.st_size for status in stats), architecture, used)


def _architecture(path: Path) -> str | None:
    """general.architecture, if it is where writers put it: at the beginning. The reader itself takes 10 ms a file."""
    key = b"general.architecture"
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
    except OSError:
        return None
    _, found, rest = head.partition(struct.pack("<Q", len(key)) + key + struct.pack("<I", 8))  # 8: a string
    if not found or not head.startswith(b"GGUF") or len(rest) < 8:
        return None
    (length,) = struct.unpack_from("<Q", rest)
    return shown_name(rest[8 : 8 + min(length, 64)].decode(errors="replace"))


def leftovers() -> list[Leftover]:
    """What interrupted downloads left, other than those that are going on."""
    folder = catalogue.models_folder()
    found = []
    for entry in catalogue.entries():
        mine = [*folder.glob(f".{entry.file}.partial-*")]
        if mine and not _is_locked(folder / f".{entry.file}.lock"):
            found += mine
        if _size(folder / entry.file) not in (entry.bytes, None):
            found.append(folder / entry.file)
    found += [path for path in hub.cache_folder().glob(f"models--*/blobs/*{hub.PARTIAL}") if not _is_locked(path)]
    return [Leftover(path, _tree_size(path)) for path in found]


def _is_locked(path: Path) -> bool:
    """Whether a process that fetches holds the lock `path`."""
    try:
        with path.open("rb") as file:
            return not lock(file, wait=False)
    except OSError:
        return path.exists()  # not ours to read: not ours to judge


# Removal


def find(name: str) -> tuple[Path, ...]:
    """The files that `remove` would remove for a name of the catalogue or of the hub: of every model that it fits.

    Raises FetchError if it is not in the cache, or is a path: a file of the user's is the user's to remove.
    """
    if entry := catalogue.find(name):
        path = catalogue.models_folder() / entry.file
        if not os.path.lexists(path):
            raise FetchError(f"{entry.name} is not in the cache")
        return (path,)
    if hub.is_name(name):
        return _find_on_hub(hub.parse(name))
    if os.path.lexists(name) or name.endswith(".gguf"):
        called = [model.name for model in models() if os.path.abspath(name) in map(str, model.files)]
        by_name = called and catalogue.is_name(called[0])
        instead = f"remove it as {called[0]}" if by_name else "only what was fetched by name is removed by name"
        raise FetchError(f"{name} is a path: {instead}")
    raise FetchError(f"{name or repr(name)} is no model in the cache; `pyruntime models` lists them")


def _find_on_hub(name: hub.Name) -> tuple[Path, ...]:
    """All files of the repository that fit, in every commit that may be meant."""
    found: list[Path] = []
    for snapshot in hub.snapshots(name.repo, name.revision):
        for first, parts in hub.models_of(hub.files_of(snapshot)).items():
            if hub.fits(name, first, parts):
                found += (snapshot / part for part in parts)
    if not found:
        raise FetchError(f"{name} is not in the cache")
    return tuple(found)


def remove(files: Iterable[Path]) -> int:
    """Remove files that `find` or `leftovers` gave; the bytes that this frees.

    A program that has one open keeps it until it ends. Raises FetchError for a file that a link puts outside of the
    cache, before anything is removed.
    """
    files = list(dict.fromkeys(files))
    for file in files:
        _check_inside(file)
    return sum(_remove_one(file) for file in files)


def _check_inside(file: Path) -> None:
    for folder in (catalogue.models_folder(), hub.cache_folder()):
        if file.is_relative_to(folder):
            if file.parent.resolve().is_relative_to(folder.resolve()):
                return
            raise FetchError(f"{file} is not inside the cache, since a link leads out of it: not removed")
    raise FetchError(f"{file} is not in the cache: not removed")


def _remove_one(file: Path) -> int:
    """A file, or the folder of an interrupted download; of a file of the hub its blob, too, if nothing else links to it."""
    if file.is_dir() and not file.is_symlink():
        freed = _tree_size(file)
        shutil.rmtree(file)
        return freed
    repo = next((folder.parent for folder in file.parents if folder.name == "snapshots"), None)
    blob = _blob_of(file, repo) if repo else None
    freed = _unlink(file)
    if repo is not None:
        if blob and not any(_blob_of(link, repo) == blob for link in repo.glob("snapshots/**/*")):
            freed += _unlink(blob)
        _sweep(repo, file.parent)
    return freed


def _blob_of(file: Path, repo: Path) -> Path | None:
    """The blob of the repository's own that a file of a snapshot links to."""
    if not file.is_symlink():
        return None
    blob = Path(os.path.abspath(file.parent / os.readlink(file)))
    return blob if blob.parent == repo / "blobs" else None


def _unlink(path: Path) -> int:
    """Remove one file; the bytes that nobody has any more: none for a link, or a file of several names."""
    try:
        status = path.lstat()
        path.unlink()
    except FileNotFoundError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 else 0


def _sweep(repo: Path, folder: Path) -> None:
    """Remove what nothing is left in: folders, the references to commits that are gone, and the repository's own."""
    while folder != repo and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
    commits = {path.name for path in repo.glob("snapshots/*")}
    if not commits and not any(repo.glob("blobs/*")) and not repo.is_symlink():
        shutil.rmtree(repo)  # references and notes about files that are not there
        return
    for reference in repo.glob("refs/**/*"):
        if reference.is_file() and reference.read_text(errors="replace").strip() not in commits:
            reference.unlink()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _tree_size(path: Path) -> int:
    """Bytes of a file, or of the files below a folder; no link is followed."""
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    from pyruntime.fetch import folder_size

    return folder_size(path)
