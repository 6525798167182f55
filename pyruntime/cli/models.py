"""List the models in the cache, and those that can be fetched by name.

With `--json` an object with `cache`: a list of `name`, `path` (of the first part), `files`, `bytes`, `architecture`
(null if unknown) and `last_used` (ISO 8601, UTC; as exactly as the disk keeps it); `available`: what the catalogue has
besides, each with `name`, `aliases`, `description`, `licence`, `architecture`, `parameters`, `bytes`, `download_bytes`;
`leftovers` of interrupted downloads: `path`, `bytes`; and the cache's `folders`. The network is not used.
"""

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pyruntime.cli.tables import columns, size
from pyruntime.cli.terminal import note, width_of

if TYPE_CHECKING:
    from pyruntime.cache import Cached
    from pyruntime.catalogue import Entry


def configure(parser: argparse.ArgumentParser) -> None:
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print everything as JSON")
    help = "print the names alone of what is in the cache, one a line: what `pyruntime rm` takes"
    form.add_argument("--names", action="store_true", help=help)


def run(args: argparse.Namespace) -> int:
    from pyruntime import cache, catalogue, hub

    models = cache.models()
    if args.names:
        for name in (model.name for model in models):
            if catalogue.is_name(name) and name.isprintable():  # not the path of a file that nobody fetched by name
                print(name)
        return 0
    leftovers = cache.leftovers()
    names = {model.name for model in models}
    available = [entry for entry in catalogue.entries() if entry.name not in names]
    if args.json:
        result = {
            "cache": [_as_json(model) for model in models],
            "available": [_entry_as_json(entry) for entry in available],
            "leftovers": [{"path": str(leftover.path), "bytes": leftover.bytes} for leftover in leftovers],
            "folders": [str(catalogue.models_folder()), str(hub.cache_folder())],
        }
        print(json.dumps(result))
        return 0
    _print_table("In the cache", [_row(model) for model in models] or [("nothing",)])
    if available:
        _print_table("To be had with `pyruntime pull NAME`", [_entry_row(entry) for entry in available])
    if leftovers:
        total = size(sum(leftover.bytes for leftover in leftovers))
        note(f"Interrupted downloads left {total}: `pyruntime rm --leftovers` removes them, `pyruntime pull` goes on.")
    return 0


def _print_table(title: str, rows: list[tuple[str, ...]]) -> None:
    print(f"{title}:")
    width = width_of(sys.stdout)
    for line in columns(rows, width=width and width - 2):
        print(f"  {line}")


def _row(model: "Cached") -> tuple[str, ...]:
    used = f"used {datetime.fromtimestamp(model.last_used).date()}"
    return model.name, size(model.bytes), model.architecture or "?", used, str(model.path)


def _entry_row(entry: "Entry") -> tuple[str, ...]:
    return entry.name, size(_download_bytes(entry)), entry.architecture, entry.licence, entry.description


def _download_bytes(entry: "Entry") -> int:
    return sum(part.wheel_bytes for part in entry.parts)


def _as_json(model: "Cached") -> dict[str, Any]:
    return {
        "name": model.name,
        "path": str(model.path),
        "files": [str(file) for file in model.files],
        "bytes": model.bytes,
        "architecture": model.architecture,
        "last_used": datetime.fromtimestamp(model.last_used, UTC).isoformat(timespec="seconds"),
    }


def _entry_as_json(entry: "Entry") -> dict[str, Any]:
    kept = ("name", "aliases", "description", "licence", "architecture", "parameters", "bytes")
    return {key: getattr(entry, key) for key in kept} | {"download_bytes": _download_bytes(entry)}
