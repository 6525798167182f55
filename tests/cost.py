"""What a piece of a test costs: processor time, and how far it raised the memory of this process."""

import ctypes
import gc
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_LINUX = sys.platform == "linux"


@dataclass
class Cost:
    """Filled in when the block ends. Other systems than Linux tell no peak that can be set back: megabytes is 0 there."""

    seconds: float = 0.0
    megabytes: float = 0.0


def _megabytes(field: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:", 1)[1].split()[0]) / 1024


@contextmanager
def cost() -> Iterator[Cost]:
    """The cost of the block, in this process with all its threads; also if it raises."""
    spent = Cost()
    before = 0.0
    if _LINUX:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # else what an earlier test freed would hide what this one takes
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): sets the peak back
        before = _megabytes("VmRSS")
    start = time.process_time()
    try:
        yield spent
    finally:
        spent.seconds = time.process_time() - start
        if _LINUX:
            spent.megabytes = _megabytes("VmHWM") - before
