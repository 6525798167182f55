"""Checks that a build runs on every CPU of its platform, down to the oldest: python tools/check_objects.py BUILD_FOLDER

An object compiled with instruction-set flags may give the linker its table and nothing else. A weak symbol (an inline
function, a template) would be merged with the same one of other files, and the copy that stays may hold instructions
that the machine does not have; a static initializer would run them when the library is loaded. All other objects, the
scalar kernels among them, may hold instructions of the platform's first CPUs alone.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path

# Instructions that came after the first CPUs of a platform, as objdump spells them, by its name of the platform. Not tzcnt:
# compilers write it where an older CPU may read bsf.
NEWER = {
    "elf64-x86-64": re.compile(
        r"""(addsubp[sd] | h(add|sub)p[sd] | lddqu | mov(ddup|s[hl]dup)                              # SSE3
        | pshufb | ph(add|sub)\w+ | pmaddubsw | pmulhrsw | palignr | pabs[bwd] | psign[bwd]          # SSSE3
        | blendv?p[sd] | pblend\w+ | pmov[sz]x\w+ | p(extr|insr)[bdq] | p(min|max)(s[bd]|u[wd])      # SSE4.1
        | pmul(ld|dq) | ptest | packusdw | pcmpeqq | dpp[sd] | (extract|insert)ps | round[ps][sd] | mpsadbw
        | phminposuw | movntdqa
        | pcmpgtq | pcmp[ei]str[im] | crc32 | popcnt | lzcnt | movbe | aes\w+ | pclmul\w+ | sha\w*\d # SSE4.2 and beside it
        | andn | bextr | bls(i|r|msk) | bzhi | mulx | pdep | pext | rorx | s(ar|hl|hr)x              # BMI
        | v(?!err|erw|mcall)\w+ | k(mov|or|and|xor|xnor|not|test|add|shift|unpck)\w+                 # AVX, AVX-512
        )[bwlq]?\b""",
        re.VERBOSE,
    ),
    "elf64-littleaarch64": re.compile(
        r"""[su]dot\b | (us|su|bf)dot\b | \w*mmla\b | bfmlal\w\b  # products of bytes and of bfloat16
        | f(?!cvt|mov)\w+\s+(h\d|v\d+\.[48]h)                     # arithmetic in binary16: to convert it is baseline""",
        re.VERBOSE,
    ),
}

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


def beyond_the_first_cpus(listing: str) -> list[str]:
    """What is wrong with the instructions that `objdump --disassemble --no-show-raw-insn` lists, each mnemonic once."""
    platform = re.search(r"file format (\S+)", listing)
    assert platform, listing
    instructions = re.findall(r"^ *[0-9a-f]+:\t(.+)$", listing, re.MULTILINE)
    newer = NEWER[platform.group(1)]
    return [
        f"newer than the platform: {name}" for name in sorted({i.split()[0] for i in instructions if newer.match(i)})
    ]


def read_symbols(nm: str, file: Path) -> list[tuple[str, str]]:
    run = subprocess.run([nm, "--demangle", str(file)], check=True, capture_output=True, text=True)
    lines = [re.fullmatch(r"[0-9a-f ]{16} (\w) (.*)", line) for line in run.stdout.splitlines()]
    assert all(lines), run.stdout
    return [(line.group(1), line.group(2)) for line in lines if line]


def disassemble(objdump: str, file: Path) -> str:
    command = [objdump, "--disassemble", "--no-show-raw-insn", str(file)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("build", type=Path, metavar="BUILD_FOLDER")
    parser.add_argument(
        "--prefix", default="", help="of nm and objdump, for another platform's objects: aarch64-linux-gnu-"
    )
    args = parser.parse_args()
    objects = {
        folder.stem.removeprefix("isa_"): sorted(folder.rglob("*.o")) for folder in args.build.rglob("isa_*.dir")
    }
    if not objects:
        parser.error(f"{args.build} holds no isa_*.dir: is it a build folder of CMake?")
    failed = False
    for isa, files in sorted(objects.items()):
        found = [problem for file in files for problem in problems(isa, read_symbols(f"{args.prefix}nm", file))]
        found += [] if len(files) == 1 else [f"{len(files)} objects, not one"]
        print(f"{isa}: {'; '.join(found) or 'its table and nothing else'}")
        failed |= bool(found)
    flagged = {file for isa, files in objects.items() if isa != "scalar" for file in files}
    others = sorted(set(args.build.rglob("*.o")) - flagged)
    for file in others:
        for problem in beyond_the_first_cpus(disassemble(f"{args.prefix}objdump", file)):
            print(f"{file.relative_to(args.build)}: {problem}")
            failed = True
    print(f"the other {len(others)} objects: read")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
