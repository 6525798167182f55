"""driver.py HARNESS CORPUS [MUTANTS]: runs a harness over every file of a folder and then over mutants of them, the same ones
each time. Ends with 1, and the input, for a promise that was broken, and for an input that takes too long."""

from __future__ import annotations

import faulthandler
import importlib
import random
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # tests
sys.path.insert(0, str(Path(__file__).parent))

from harness import Harness

HARNESSES = ("session", "template", "tokenizer")
MAX_SECONDS = 5  # of processor time, an input
HANGS_AFTER = 120  # seconds, on whatever machine


def load(name: str) -> Harness:
    harness: Harness = importlib.import_module(f"fuzz_{name}")
    return harness


def mutant(harness: Harness, corpus: list[bytes], seed: int) -> bytes:
    draw = random.Random(seed)
    data = draw.choice(corpus)
    for _ in range(draw.randint(1, 3)):
        data = harness.mutate(data, draw)
    return data


def run(harness: Harness, data: bytes) -> bool:
    faulthandler.dump_traceback_later(HANGS_AFTER, exit=True, file=sys.__stderr__)
    start = time.process_time()
    try:
        inside = harness.run(data)
    except Exception:
        traceback.print_exc()
        sys.exit(f"the input: {data!r}")
    finally:
        faulthandler.cancel_dump_traceback_later()
    if (seconds := time.process_time() - start) > MAX_SECONDS:
        sys.exit(f"{seconds:.1f} seconds for the input: {data!r}")
    return inside


def main(name: str, folder: str, mutants: int = 0) -> None:
    faulthandler.enable()
    harness = load(name)
    corpus = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    if not corpus:
        sys.exit(f"{folder} is empty")
    for data in corpus:
        run(harness, data)
    inside = 0
    for seed in range(mutants):
        print(seed, end=" ", file=sys.stderr)  # the last is that of a mutant that ended the process
        inside += run(harness, mutant(harness, corpus, seed))
    print(f"{name}: {len(corpus)} inputs of the corpus; {mutants} mutants, of which {inside} came past the door")
    if 2 * inside < mutants:
        sys.exit("less than half of the mutants came past the door")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
