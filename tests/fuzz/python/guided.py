"""guided.py HARNESS [libFuzzer's options] FOUND [CORPUS...]: lets atheris look for inputs that reach more of pyruntime.

Needs `pip install atheris`. What it finds, minimized by -merge=1, is the corpus that driver.py replays without it.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))

import driver

if __name__ == "__main__":
    with atheris.instrument_imports(include=["pyruntime"]):
        harness = driver.load(sys.argv.pop(1))
        for seed in harness.seeds():  # they import what is imported late
            harness.run(seed)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        return harness.mutate(data, random.Random(seed))[:max_size]

    atheris.Setup(sys.argv, lambda data: driver.run(harness, data) and None, custom_mutator=mutate)
    atheris.Fuzz()
