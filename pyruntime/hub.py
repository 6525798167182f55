"""Models of the Hugging Face hub by name: `hf:owner/repo[@revision][/file][:Q4_K_M]`, and where the cache has them.

Nothing here uses the network, or imports huggingface_hub. The cache is that library's own, which other tools share: a
folder a repository, with `blobs/` by checksum, `snapshots/COMMIT/` of links to them, and `refs/` from names to commits.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pyruntime.errors import FetchError, shown_name

PREFIX = "hf:"
PARTIAL = ".pyruntime.incomplete"  # the end of a file that is not complete; `hf cache prune` knows it as well
FORM = "hf:owner/repo[@revision][/file.gguf][:Q4_K_M]"

# What is taken of a repository with several models when nobody says which: the first of these that it has.
PREFERRED = (
    *("Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0", "IQ4_XS", "IQ4_NL", "MXFP4", "MXFP4_MOE"),
    *("Q5_K_M", "Q5_K_S", "Q6_K", "Q8_0", "BF16", "F16", "F32"),
)

_NAME = re.compile(
    r"hf:(?://)?(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)(?:@(?P<revision>[\w-][\w.-]*))?"
    r"(?:/(?P<file>[^:]+))?(?::(?P<quant>[\w.-]+))?",
    re.ASCII,
)
_QUANT = re.compile(
    r"(?<![A-Z0-9])(?:UD[-_])?"  # UD: Unsloth's dynamic mixtures, another file than that of the plain name
    r"(?:[IT]?Q\d(?:_(?:\d|K|S|M|L|XL|XS|XXL|XXS|NL))*|BF16|FP?16|FP?32|MXFP4(?:_MOE)?|NVFP4)(?![A-Z0-9])",
    re.IGNORECASE,
)
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)
_COMMIT = re.compile(r"[0-9a-f]{40}")


class NoSuchModel(Exception):
    """None of the files at hand, or more than one, is what a name asks for; the message is the end of a sentence."""


@dataclass(frozen=True)
class Name:
    """A model of the hub, as the user names it."""

    repo: str  # owner/name
    revision: str | None = None  # a branch, a tag or a commit; None is main
    file: str = ""  # a path inside the repository, of a file or of the folder that it is in
    quant: str = ""  # as `quant_of` gives it

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{PREFIX}{self.repo}{revision}{self.file and '/' + self.file}{self.quant and ':' + self.quant}"


class Pulled(NamedTuple):
    """A file of a model that was asked for by name."""

    path: Path
    sha256: str = ""  # where it was just compared with what the file should have


def is_name(text: str) -> bool:
    """Whether `text` is meant to name a model of the hub."""
    return text.startswith(PREFIX)


def parse(text: str) -> Name:
    """The name that `text` is; raises FetchError if it is none."""
    match = _NAME.fullmatch(text)
    if match is None or re.search(r"--|\.\.", match["repo"]) or not is_safe_path(match["file"] or "whole"):
        raise FetchError(f"{shown_name(text)}: a model of the Hugging Face hub is {FORM}")
    return Name(match["repo"], match["revision"], match["file"] or "", _canonical(match["quant"] or ""))


def is_safe_path(path: str) -> bool:
    """Whether a path inside a repository stays inside a folder on disk."""
    return path.isprintable() and "\\" not in path and not {"", ".", ".."} & set(path.split("/"))


def quant_of(path: str) -> str:
    """The quantization that a file's path names, in upper case: Q4_K_M, IQ4_XS, UD-Q4_K_XL, BF16; empty if none."""
    return _canonical((_QUANT.findall(path.removesuffix(".gguf")) or [""])[-1])


def _canonical(quant: str) -> str:
    return re.sub(r"^FP(?=16$|32$)", "F", quant.upper()).replace("UD_", "UD-")


def models_of(files: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The models among the files: the parts of each in order, by the path of the first.

    A split file of which a part is missing is none; so are the projectors of vision models and importance matrices.
    """
    models: dict[str, tuple[str, ...]] = {}
    split: dict[tuple[str, int], dict[int, str]] = {}
    for path in sorted(files):
        base = path.rpartition("/")[2].lower()
        if (
            not base.endswith(".gguf")
            or "mmproj" in base
            or base.startswith("imatrix")
            or base.endswith("imatrix.gguf")
        ):
            continue
        if part := _PART.fullmatch(path):
            split.setdefault((part["stem"], int(part["count"])), {})[int(part["number"])] = path
        else:
            models[path] = (path,)
    for (_, count), parts in split.items():
        if sorted(parts) == list(range(1, len(parts) + 1)) and len(parts) == count:
            models[parts[1]] = tuple(parts[number] for number in sorted(parts))
    return models


def choose(name: Name, files: Iterable[str]) -> tuple[str, ...]:
    """The parts, in order, of the one model among `files` that `name` means; raises NoSuchModel.

    A file is meant by its path, a quantization by the whole of its name. Where that leaves several and no quantization
    was asked for, it is the first of PREFERRED that there is, if one model has it.
    """
    everything = models_of(files)
    models = {first: parts for first, parts in everything.items() if fits(name, first, parts)}
    if not models:
        raise NoSuchModel(f"has no such GGUF model; it has {_listed(everything)}")
    if len(models) > 1 and not name.quant:
        for quant in PREFERRED:
            if of_quant := {first: parts for first, parts in models.items() if quant_of(first) == quant}:
                models = of_quant
                break
    if len(models) > 1:
        raise NoSuchModel(f"has more than one that fits: say which of {_listed(models)}")
    return next(iter(models.values()))


def fits(name: Name, first: str, parts: tuple[str, ...]) -> bool:
    """Whether a model of the repository can be meant by `name`: by its file, the folder of that, its quantization."""
    return (not name.file or name.file in parts or first.startswith(f"{name.file}/")) and (
        not name.quant or quant_of(first) == name.quant
    )


def _listed(models: Iterable[str], limit: int = 20) -> str:
    """What a user can put after the repository to mean one of these models."""
    paths = sorted(models)
    quants = [quant_of(path) for path in paths]
    ways = [
        f":{quant}" if quant and quants.count(quant) == 1 else f"/{shown_name(path)}"
        for path, quant in zip(paths, quants, strict=True)
    ]
    more = f" and {len(ways) - limit} more" if len(ways) > limit else ""
    return (", ".join(ways[:limit]) or "none") + more


# The cache


def cache_folder() -> Path:
    """The folder that huggingface_hub keeps repositories in, by the same environment variables. It need not exist."""
    user = os.environ.get("XDG_CACHE_HOME", os.path.join(os.path.expanduser("~"), ".cache"))
    home = _expanded(os.environ.get("HF_HOME", os.path.join(user, "huggingface")))
    default = os.environ.get("HUGGINGFACE_HUB_CACHE", os.path.join(home, "hub"))
    return Path(_expanded(os.environ.get("HF_HUB_CACHE", default))).absolute()


def _expanded(path: str) -> str:
    return os.path.expandvars(os.path.expanduser(path))


def repo_folder(repo: str) -> Path:
    """The folder of a repository in the cache."""
    return cache_folder() / f"models--{repo.replace('/', '--')}"


def cached_repos() -> Iterator[str]:
    """The repositories of models that the cache has something of."""
    for folder in sorted(cache_folder().glob("models--*--*")):
        owner, _, repo = folder.name.removeprefix("models--").partition("--")
        if _NAME.fullmatch(f"{PREFIX}{owner}/{repo}") and "--" not in repo:
            yield f"{owner}/{repo}"


def snapshots(repo: str, revision: str | None = None) -> list[Path]:
    """The snapshots in the cache that a name with this revision may mean, the one to look into first first.

    Without a revision that is main's, then the others, the newest first: what is there shall open without a network.
    A commit may be shortened.
    """
    folder = repo_folder(repo)
    there = sorted((path for path in folder.glob("snapshots/*") if path.is_dir()), key=_modified, reverse=True)
    commit = ref(repo, revision or "main") or revision or ""
    found = [path for path in there if path.name == commit]
    if revision is None:
        return found + [path for path in there if path not in found]
    return found or [path for path in there if len(commit) >= 7 and path.name.startswith(commit)]


def ref(repo: str, revision: str) -> str | None:
    """The commit that the cache knows a branch or tag by."""
    try:
        commit = (repo_folder(repo) / "refs" / revision).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return commit if _COMMIT.fullmatch(commit) else None


def files_of(snapshot: Path) -> list[str]:
    """The paths inside a snapshot of the GGUF files that it has."""
    return [
        os.path.relpath(os.path.join(root, file), snapshot)
        for root, _, names in os.walk(snapshot)
        for file in names
        if file.endswith(".gguf") and os.path.isfile(os.path.join(root, file))
    ]


def find(name: Name) -> tuple[Path, ...] | None:
    """The files in the cache of the model that `name` means there: its parts, in order; None if it is not there."""
    for snapshot in snapshots(name.repo, name.revision):
        try:
            return tuple(snapshot / path for path in choose(name, files_of(snapshot)))
        except NoSuchModel:
            continue
    return None


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # removed meanwhile
        return 0.0
