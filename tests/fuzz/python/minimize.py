"""minimize.py HARNESS CORPUS FOLDER...: copies into CORPUS, smallest first, the inputs that go a way through pyruntime which
none before them went: from one line to another, in one function."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import driver

import pyruntime

_PACKAGE = str(Path(pyruntime.__file__).parent)
Step = tuple[str, int, int]  # file, and two lines


class Ways:
    """The steps of a run."""

    def __init__(self) -> None:
        self.steps: set[Step] = set()

    def enter(self, frame: FrameType, event: str, arg: Any) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith(_PACKAGE):
            return None
        last = frame.f_code.co_firstlineno

        def trace(frame: FrameType, event: str, arg: Any) -> Any:
            nonlocal last
            line = -frame.f_lineno if event == "exception" else frame.f_lineno
            self.steps.add((file, last, line))
            last = line
            return trace

        return trace


def main(name: str, corpus: Path, folders: list[Path]) -> None:
    harness = driver.load(name)
    inputs = {path.read_bytes() for folder in folders for path in folder.iterdir()}
    for seed in harness.seeds():
        harness.run(seed)  # imports, and what is made once, are no input's
    seen: set[Step] = set()
    corpus.mkdir(parents=True, exist_ok=True)
    for data in sorted(inputs, key=lambda data: (len(data), data)):
        ways = Ways()
        sys.settrace(ways.enter)
        try:
            harness.run(data)
        finally:
            sys.settrace(None)
        if not ways.steps <= seen:
            seen |= ways.steps
            (corpus / hashlib.sha1(data).hexdigest()).write_bytes(data)
    print(f"{len(list(corpus.iterdir()))} of {len(inputs)} inputs, {len(seen)} steps")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), list(map(Path, sys.argv[3:])))
