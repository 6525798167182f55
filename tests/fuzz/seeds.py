"""Writes seeds of the C++ harnesses: python tests/fuzz/seeds.py FOLDER makes FOLDER/<harness>/.

They are where a run begins; what it finds, minimized by -merge=1, is tests/fuzz/corpus.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from gguf_maker import MALFORMED, SMALL, STRING, UINT16, array, gguf, kv, string, tensor, u16

TYPES = {0: 1, 1: 1, 2: 32, 3: 32, 6: 32, 7: 32, 8: 32, 10: 256, 11: 256, 12: 256, 13: 256, 14: 256, 20: 32, 23: 256}
TYPES |= {30: 1, 39: 32, 16: 256, 24: 1}  # two of them not supported
_MAX_SEED = 2048


def of_gguf() -> Iterator[bytes]:
    files = [SMALL] + [case[1].data for case in MALFORMED if len(case[1].data) < _MAX_SEED]
    for tensor_type, n_block in TYPES.items():
        rows = (tensor("a", [2 * n_block, 3], tensor_type), tensor("b", [n_block, 2, 2], tensor_type, offset=8192))
        files.append(gguf((kv("general.architecture", STRING, string("llama")),), rows).data)
    every_array = tuple(kv(f"a{kind}", 9, array(kind)) for kind in (*range(9), 10, 11, 12))
    files.append(gguf(every_array, (tensor("c", [1, 2, 3, 4]),)).data)
    for data in files:
        yield b"\x00" + data  # as it is
        yield b"\x10" + data  # with zeros up to 64 KB


def of_gguf_split() -> Iterator[bytes]:
    def part(no: int, count: int = 2, n_tensors: int = 2, name: str = "") -> bytes:
        numbers = {"no": no, "count": count, "tensors.count": n_tensors}
        entries = tuple(kv(f"split.{key}", UINT16, u16(number)) for key, number in numbers.items())
        return gguf(entries, (tensor(name or f"t{no}", [8]),)).data

    firsts = [part(0), part(0, n_tensors=3), part(1), part(2), part(0, count=1), part(0, count=65535), SMALL]
    for first in firsts:
        for second in (part(1), part(1, count=3), part(1, name="t0"), part(0), SMALL, b""):
            yield u16(len(first)) + first + second


def of_blocks() -> Iterator[bytes]:
    rng = np.random.default_rng(0)
    for kind in range(16):
        for n in (5, 40, 250):
            yield bytes((kind, n)) + rng.integers(0, 256, n, np.uint8).tobytes()
            yield bytes((kind, n)) + rng.integers(0, 60, n, np.uint8).tobytes()  # halves that are finite


def of_text() -> Iterator[bytes]:
    yield "naïve \U0001f999\n\0 \x1b[31m\u202e\u2028\ufeff\x85".encode()
    for text in ("80", "c0af", "c3", "e080af", "e282", "e228a1", "eda080", "f08080af", "f4908080", "f888808080"):
        yield b"12345678" + bytes.fromhex(text)


def of_pages() -> Iterator[bytes]:
    rng = np.random.default_rng(1)
    page = b"\x00" + bytes(range(64)) + b"\x00"
    numbers = {
        "zeros": b"\x00\x00",
        "ones": b"\x01\x00\x3c",
        "infinite": b"\x03\x00\x7c\x00\xfc",
        "nan": b"\x01\x7f\xff",
    }
    for kind in range(3):
        for number in numbers.values():
            yield (
                bytes((kind,)) + page + number + b"\x03\x05" + bytes(8) + b"\x06\x0b\x02" + b"\x05\x80" + page + number
            )
        yield bytes((kind,)) + rng.integers(0, 256, 400, np.uint8).tobytes()


def main(folder: Path) -> None:
    makers = {"gguf": of_gguf, "gguf_split": of_gguf_split, "blocks": of_blocks, "text": of_text, "pages": of_pages}
    for name, make in makers.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i, data in enumerate(make()):
            (folder / name / f"{i:03}").write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
