"""What is measured: pieces of work that every runtime does with the same model file."""

from __future__ import annotations

from dataclasses import dataclass, replace

LONG = 2048  # tokens; reading so many warms up whatever comes after


@dataclass(frozen=True, slots=True)
class Work:
    """Reading `read` tokens in one go; or writing `write` tokens one by one, in each of `sequences` at once, after a prompt of
    `depth` tokens that is not timed. Nothing is sampled: which ids are fed does not change the time."""

    read: int = 0
    write: int = 0
    depth: int = 0
    sequences: int = 1

    @property
    def tokens(self) -> int:
        """Those that are timed."""
        return self.read + self.write * self.sequences

    @property
    def context(self) -> int:
        """Positions that one sequence needs."""
        return self.read + self.depth + self.write

    @property
    def is_long(self) -> bool:
        return max(self.read, self.depth) >= LONG

    def shortened(self) -> Work:
        """The same with at most LONG tokens to read: long enough to choose settings by."""
        return replace(self, read=min(self.read, LONG), depth=min(self.depth, LONG))

    def __str__(self) -> str:
        if self.read:
            return f"prefill {self.read}"
        together = f", {self.sequences} together" if self.sequences > 1 else ""
        return f"generate {self.write} at {self.depth}{together}"


WORKS: dict[str, list[Work]] = {
    "prefill": [Work(read=512)],
    "generate": [Work(write=64, depth=16)],
    "batch": [Work(write=32, depth=16), Work(write=32, depth=16, sequences=8)],
    "long": [Work(write=32, depth=128), Work(write=32, depth=8192), Work(read=512), Work(read=8192)],
}
