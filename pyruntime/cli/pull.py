"""Fetch a model by name into the cache, or check the one that is there.

The path goes to stdout; with `--json` an object with `model`, `path` (of the first part), `bytes`, and `files`: each
with `path`, `bytes` and `sha256`.
"""

import argparse
import json

from pyruntime.cli.terminal import FetchReport


def configure(parser: argparse.ArgumentParser) -> None:
    from pyruntime.hub import FORM

    parser.add_argument("model", metavar="NAME", help=f"a model of the catalogue, or {FORM} of the Hugging Face hub")
    parser.add_argument("--json", action="store_true", help="print where it is, its size and its sha256 as JSON")


def run(args: argparse.Namespace) -> int:
    from pyruntime.catalogue import pull_files

    with FetchReport() as report:
        files = pull_files(args.model, check=True, report=report)
    path = str(files[0].path)
    if not args.json:
        print(path)
        return 0

    from pyruntime.fetch import hash_file

    told = [
        {"path": str(file.path), "bytes": file.path.stat().st_size, "sha256": file.sha256 or hash_file(file.path)}
        for file in files
    ]
    total = sum(file.path.stat().st_size for file in files)
    print(json.dumps({"model": args.model, "path": path, "bytes": total, "files": told}))
    return 0
