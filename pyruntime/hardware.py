"""What the machine gives: an upper bound of how fast a model can read its weights, and of how fast it can multiply."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyruntime import _core
from pyruntime.memory import available_memory
from pyruntime.system import read

_CPUS = Path("/sys/devices/system/cpu")
_LEAST_BUFFER = 256 << 20  # where the caches are unknown: they hold less in what people have


@dataclass(frozen=True, slots=True)
class Hardware:
    """memory_bandwidth: bytes a second that the threads together read from memory. int8_peak: operations a second, two for
    each product that is added up, of what the instruction set multiplies bytes with."""

    memory_bandwidth: float
    int8_peak: float

    def or_better(self, other: Hardware) -> Hardware:
        """Of two measurements the better: what disturbs one only ever makes it slower."""
        return Hardware(
            max(self.memory_bandwidth, other.memory_bandwidth),
            max(self.int8_peak, other.int8_peak),
        )


def measure(threads: int, isa: str = "", free: int | None = None) -> Hardware:
    """Both, with so many threads: about 0.6 s. isa: empty is the one that a model loaded now would use.

    Takes memory for a moment: four times the caches, at least 256 MB, at most a quarter of what is free (bytes; None is what
    the system and the cgroup have left).
    """
    return Hardware(_core.memory_bandwidth(threads, _buffer_bytes(free)), _core.int8_peak(threads, isa))


def _buffer_bytes(free: int | None = None) -> int:
    wanted = max(_LEAST_BUFFER, 4 * cache_bytes())
    limits = [n for n in (free, available_memory()) if n is not None]
    return min([wanted, *(n // 4 for n in limits)])


def cache_bytes() -> int:
    """Bytes of all caches of the last level; 0 if unknown."""
    found: dict[int, dict[str, int]] = {}  # by level and by the processors that share it
    for cache in _CPUS.glob("cpu[0-9]*/cache/index[0-9]*"):
        level, size, shared = (read(cache / name) or "" for name in ("level", "size", "shared_cpu_list"))
        if level.isdigit() and size.removesuffix("K").isdigit():
            found.setdefault(int(level), {})[shared] = int(size.removesuffix("K")) << 10
    return sum(found[max(found)].values()) if found else 0
