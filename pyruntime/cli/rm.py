"""Remove models from the cache.

A name of the hub means every cached file that it fits, in every commit; `hf:owner/repo` means all of them. Files of
other kinds that other programs keep there stay. With `--json` an object with `removed` (paths) and `freed_bytes`.
"""

import argparse
import json
import sys
from pathlib import Path

from pyruntime.cli.options import UsageError
from pyruntime.cli.tables import size
from pyruntime.cli.terminal import note, say


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", metavar="NAME", nargs="*", help="as `pyruntime models` lists them")
    parser.add_argument("--leftovers", action="store_true", help="remove what interrupted downloads left, too")
    parser.add_argument("--yes", action="store_true", help="do not ask, on a terminal")
    parser.add_argument("--json", action="store_true", help="print what was removed and freed as JSON")


def run(args: argparse.Namespace) -> int:
    from pyruntime import cache

    if not args.models and not args.leftovers:
        raise UsageError("name a model to remove, or --leftovers (see `pyruntime models`)")
    # All names first: a wrong one must not leave half of the work done.
    files = list(dict.fromkeys(file for name in args.models for file in cache.find(name)))
    if args.leftovers:
        files += [leftover.path for leftover in cache.leftovers()]
    if files and not args.yes and not _confirmed(files):
        say("nothing was removed")
        return 1
    freed = cache.remove(files)
    if args.json:
        print(json.dumps({"removed": [str(file) for file in files], "freed_bytes": freed}))
    else:
        for file in files:
            note(f"removed {file}")
        note(f"{size(freed)} freed" if files else "interrupted downloads left nothing")
    return 0


def _confirmed(files: list[Path]) -> bool:
    """Ask, if there is somebody to ask: without a terminal the command was the answer."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    for file in files:
        say(f"  {file}")
    sys.stderr.write(f"Remove {'this' if len(files) == 1 else f'these {len(files)}'}? [y/N] ")
    sys.stderr.flush()
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        say("")  # what comes next begins a line
        raise
    if not answer:  # Ctrl-D, which ends no line either
        say("")
    return answer.strip().lower() in ("y", "yes")
