"""What a tiny model gives, as a line of JSON: python run_tiny.py MODEL. It needs pyruntime and nothing of the tests': other
environments and other processors run it."""

from __future__ import annotations

import hashlib
import json
import sys

import pyruntime

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9]  # more than four: the panel kernels read it, the others generate


def main(path: str) -> None:
    with pyruntime.Model(path, threads=2, context=128) as model:
        generation = model.generate(PROMPT, max_tokens=24, temperature=0.9, seed=7)
        logits = hashlib.sha256(model.logits(PROMPT).astype("<f4").tobytes()).hexdigest()
        print(json.dumps({"isa": model.isa, "ids": generation.ids, "text": generation.text, "logits": logits}))


if __name__ == "__main__":
    main(*sys.argv[1:])
