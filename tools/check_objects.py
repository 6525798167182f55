"""Checks the objects of a build that were compiled with instruction-set flags: python tools/check_objects.py BUILD_FOLDER

Such an object may give the linker its table and nothing else. A weak symbol (an inline function, a template) would be
merged with the same one of other files, and the copy that stays may hold instructions that the machine does not have;
a static initializer would run them when the library is loaded.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path

# What compilers call by themselves for loops and copies, and fma where an instruction set has none.
FROM_THE_C_LIBRARY = {"memcpy", "memset", "memmove", "memcmp", "fmaf"}


def problems(isa: str, symbols: list[tuple[str, str]]) -> list[str]:
    """What is wrong with an object's (kind, name) pairs, as `nm --demangle` gives them."""
    found = []
    exported = [name for kind, name in symbols if kind.isupper() and kind not in "UWV"]
    if exported != [f"pyruntime::kernels_{isa}"]:
        found.append(f"exports {exported}, not its table alone")
    found += [f"weak: {name}" for kind, name in symbols if kind in "WwVvu"]
    found += [f"calls {name}" for kind, name in symbols if kind == "U" and name not in FROM_THE_C_LIBRARY]
    found += [f"static initializer: {name}" for _, name in symbols if "_GLOBAL__" in name or "_init_var" in name]
    return found


def read_symbols(nm: str, file: Path) -> list[tuple[str, str]]:
    run = subprocess.run([nm, "--demangle", str(file)], check=True, capture_output=True, text=True)
    lines = [re.fullmatch(r"[0-9a-f ]{16} (\w) (.*)", line) for line in run.stdout.splitlines()]
    assert all(lines), run.stdout
    return [(line.group(1), line.group(2)) for line in lines if line]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("build", type=Path, metavar="BUILD_FOLDER")
    parser.add_argument("--nm", default="nm", metavar="PROGRAM")
    args = parser.parse_args()
    objects = {
        folder.stem.removeprefix("isa_"): sorted(folder.rglob("*.o")) for folder in args.build.rglob("isa_*.dir")
    }
    if not objects:
        parser.error(f"{args.build} holds no isa_*.dir: is it a build folder of CMake?")
    failed = False
    for isa, files in sorted(objects.items()):
        found = [problem for file in files for problem in problems(isa, read_symbols(args.nm, file))]
        found += [] if len(files) == 1 else [f"{len(files)} objects, not one"]
        print(f"{isa}: {'; '.join(found) or 'its table and nothing else'}")
        failed |= bool(found)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
