"""Random tensors in every block format, also those that the gguf package reads but does not write.

Nothing here knows how the bits of an element lie: only where the scales are. Values come from `gguf.quants`.
"""

from __future__ import annotations

import gguf
import numpy as np
from numpy.typing import NDArray

from pyruntime import _core

Blocks = NDArray[np.uint8]  # (n, bytes of a block)

SIZES = {name: (n_block, n_bytes) for name, n_block, n_bytes in _core.type_sizes().values()}

# Of the quantized types: where the binary16 numbers of a block are, in bytes: d, and m where there is one.
HALVES: dict[str, tuple[int, ...]] = {
    "Q4_0": (0,),
    "Q4_1": (0, 2),
    "Q5_0": (0,),
    "Q5_1": (0, 2),
    "Q8_0": (0,),
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
    "IQ4_NL": (0,),
    "IQ4_XS": (0,),
    "MXFP4": (),  # its scale is an exponent, in byte 0
}
FLOATS = ("F32", "F16", "BF16")
IN_256 = tuple(name for name in HALVES if SIZES[name][0] == 256)
WRITTEN_BY_GGUF = (*FLOATS, "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4")


def dequantize(blocks: Blocks, type_: str) -> NDArray[np.float32]:
    """What the gguf package gives, flat."""
    with np.errstate(over="ignore"):  # the largest scales: past float16, and of MXFP4 past float32
        values = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[type_])
    return np.asarray(values, np.float32).reshape(-1)


def set_halves(blocks: Blocks, type_: str, halves: NDArray[np.uint16]) -> Blocks:
    """Writes the bits of each block's binary16 numbers, (n, how many)."""
    for i, at in enumerate(HALVES[type_]):
        blocks[:, at : at + 2] = halves[:, i].reshape(-1, 1).view(np.uint8)
    return blocks


def random_tensor(type_: str, rows: int, cols: int, spread: float, rng: np.random.Generator) -> Blocks:
    """(rows, bytes of a row): any codes, each block at a scale of its own, so that values spread by `spread` around 0."""
    n_block, n_bytes = SIZES[type_]
    n = rows * cols // n_block
    blocks = rng.integers(0, 256, (n, n_bytes), np.uint8)
    gain = 2.0 ** rng.uniform(-1, 1, n)
    if type_ == "MXFP4":
        blocks[:, 0] = np.rint(np.log2(spread * gain / 5.2)) + 128  # 5.2: the spread of the codebook
    else:
        n_halves = len(HALVES[type_])
        ones = np.tile(np.array([0x3C00, 0], np.uint16)[:n_halves], (n, 1))
        values = dequantize(set_halves(blocks.copy(), type_, ones), type_).reshape(n, n_block)  # at d = 1, m = 0
        halves = np.zeros((n, n_halves), np.float16)
        halves[:, 0] = spread * gain / values.std(axis=1)
        if n_halves > 1:  # m takes the mean off, less or more
            ones[:, 1] = 0x3C00
            steps = dequantize(set_halves(blocks.copy(), type_, ones), type_).reshape(n, n_block) - values  # of m = 1
            halves[:, 1] = -halves[:, 0] * values.mean(axis=1) / steps.mean(axis=1) * rng.uniform(0.8, 1.2, n)
        set_halves(blocks, type_, halves.view(np.uint16))
    return blocks.reshape(rows, -1)
