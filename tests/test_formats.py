"""Block formats: the core's scalar dequantize, and its packed form, against the gguf package, byte for byte."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from block_formats import FLOATS, HALVES, SIZES, WRITTEN_BY_GGUF, Blocks, dequantize, set_halves
from numpy.typing import NDArray

from pyruntime import _core
from pyruntime.errors import GGUFError, UnsupportedError

TYPES = [*FLOATS, *HALVES]

# Zero, the smallest and largest denormal, the smallest normal, one, the largest, and their negatives.
EXTREME_SCALES = [sign | bits for sign in (0, 0x8000) for bits in (0, 1, 0x3FF, 0x400, 0x3C00, 0x7BFF)]


def finite(values: NDArray[np.uint16], type_: str) -> NDArray[np.uint16]:
    """Bits of 16-bit floats, with infinities and NaN turned into 0."""
    exponent = {"F16": 0x7C00, "BF16": 0x7F80}[type_]
    return np.where(values & exponent == exponent, 0, values).astype(np.uint16)


def random_blocks(type_: str, n: int, seed: int = 0) -> Blocks:
    """Any bytes, but for scales and values that are not finite."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (n, SIZES[type_][1]), np.uint8)
    if type_ == "MXFP4":
        blocks[:, 0] %= 255
    if type_ in HALVES:
        return set_halves(blocks, type_, finite(rng.integers(0, 1 << 16, (n, len(HALVES[type_])), np.uint16), "F16"))
    if type_ == "F32":
        bits = blocks.view(np.uint32)
        return np.where(bits & 0x7F800000 == 0x7F800000, 0, bits).astype(np.uint32).view(np.uint8)
    return finite(blocks.view(np.uint16), type_).view(np.uint8)


def extreme_blocks(type_: str) -> Blocks:
    """Every pair of extreme scales, or every exponent, with every value of codes and of scales within a block."""
    n_bytes = SIZES[type_][1]
    same = np.repeat(np.arange(0, 256, 17, dtype=np.uint8)[:, np.newaxis], n_bytes, axis=1)  # 0x00, 0x11, ... 0xff
    rising = np.arange(256, dtype=np.uint8)[:, np.newaxis] + np.arange(n_bytes, dtype=np.uint8)
    patterns = np.concatenate([same, rising[::8], rising[7::31]])
    d, m = np.array(np.meshgrid(EXTREME_SCALES, EXTREME_SCALES), np.uint16).reshape(2, -1)
    halves = np.stack([d, m], axis=1) if len(HALVES[type_]) == 2 else np.array(EXTREME_SCALES, np.uint16)[:, np.newaxis]
    n = 255 if type_ == "MXFP4" else len(halves)
    blocks = np.repeat(patterns, n, axis=0)
    if type_ == "MXFP4":
        blocks[:, 0] = np.tile(np.arange(n), len(patterns))
    return set_halves(blocks, type_, np.tile(halves, (len(patterns), 1)))


def all_16_bit_values(type_: str) -> Blocks:
    return finite(np.arange(1 << 16, dtype=np.uint16)[:, np.newaxis], type_).view(np.uint8)


def assert_same_bits(a: NDArray[np.float32], b: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(a.reshape(-1).view(np.uint32), b.reshape(-1).view(np.uint32))


def test_block_sizes_are_those_of_the_gguf_package() -> None:
    known = {int(kind): (kind.name, *sizes) for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    listed = _core.type_sizes()
    common = known.keys() & listed.keys()  # each knows types that are newer than the other
    assert {i: listed[i] for i in common} == {i: known[i] for i in common}
    assert len(common) >= 30
    assert {known[i][0] for i in common} >= set(_core.supported_types()) == set(TYPES)


@pytest.mark.parametrize("type_", TYPES)
def test_dequantize_random_blocks(type_: str) -> None:
    blocks = random_blocks(type_, 4000)
    assert_same_bits(_core.dequantize(blocks, type_), dequantize(blocks, type_))


@pytest.mark.parametrize("type_", HALVES)
def test_dequantize_extreme_blocks(type_: str) -> None:
    blocks = extreme_blocks(type_)
    assert_same_bits(_core.dequantize(blocks, type_), dequantize(blocks, type_))


@pytest.mark.parametrize("type_", ["F16", "BF16"])
def test_dequantize_every_16_bit_value(type_: str) -> None:
    blocks = all_16_bit_values(type_)
    assert_same_bits(_core.dequantize(blocks, type_), dequantize(blocks, type_))


def test_dequantize_every_exponent_of_mxfp4() -> None:
    """Also 255: only packing refuses it."""
    blocks = random_blocks("MXFP4", 256)
    blocks[:, 0] = np.arange(256)
    assert_same_bits(_core.dequantize(blocks, "MXFP4"), dequantize(blocks, "MXFP4"))


@pytest.mark.parametrize("type_", WRITTEN_BY_GGUF)
def test_dequantize_what_the_gguf_package_quantized(type_: str) -> None:
    values = np.random.default_rng(1).standard_normal((20, 96)).astype(np.float32)
    stored = gguf.quants.quantize(values, gguf.GGMLQuantizationType[type_])
    data = np.ascontiguousarray(stored).view(np.uint8)
    assert_same_bits(_core.dequantize(data, type_), dequantize(data, type_))
    error = np.abs(_core.dequantize(data, type_) - values.reshape(-1)).max()
    assert error < (1 if type_ == "MXFP4" else 0.5)  # the values, not only the same bits


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 33])
@pytest.mark.parametrize("type_", TYPES)
def test_packing_loses_nothing(type_: str, rows: int) -> None:
    n_block = SIZES[type_][0]
    for cols in [n_block * n for n in (1, 2, 3, 7)] + ([5, 33, 100] if n_block == 1 else []):
        blocks = random_blocks(type_, rows * cols // n_block, seed=cols)
        unpacked = _core.pack_unpack(blocks, type_, rows, cols)
        assert unpacked.shape == (rows, cols)
        assert_same_bits(unpacked, dequantize(blocks, type_))


@pytest.mark.parametrize("type_", HALVES)
def test_packing_extreme_blocks(type_: str) -> None:
    blocks = extreme_blocks(type_)
    assert_same_bits(_core.pack_unpack(blocks, type_, len(blocks), SIZES[type_][0]), dequantize(blocks, type_))


@pytest.mark.parametrize("bits", [0x7C00, 0xFC00, 0x7E00, 0x7C01, 0xFFFF], ids=hex)
@pytest.mark.parametrize(("type_", "at"), [(type_, at) for type_, halves in HALVES.items() for at in halves])
def test_packing_refuses_a_scale_that_is_not_finite(type_: str, at: int, bits: int) -> None:
    n_block = SIZES[type_][0]
    blocks = random_blocks(type_, 20 * 3)
    blocks.reshape(20, 3, -1)[17, 2, at : at + 2] = np.array([bits], np.uint16).view(np.uint8)
    with pytest.raises(GGUFError, match=rf"row 17, column {2 * n_block}: not finite"):
        _core.pack_unpack(blocks, type_, 20, 3 * n_block)


def test_packing_refuses_the_exponent_that_is_nan() -> None:
    blocks = random_blocks("MXFP4", 20 * 3)
    blocks.reshape(20, 3, -1)[17, 2, 0] = 255
    with pytest.raises(GGUFError, match=r"row 17, column 64: not finite"):
        _core.pack_unpack(blocks, "MXFP4", 20, 96)


@pytest.mark.parametrize(
    ("type_", "bits"),
    [(t, b) for t, all_bits in {"F16": (0x7C00, 0xFE00), "BF16": (0x7F80, 0xFFC0)}.items() for b in all_bits]
    + [("F32", 0x7F800000), ("F32", 0xFFC00001)],
)
def test_packing_refuses_a_value_that_is_not_finite(type_: str, bits: int) -> None:
    blocks = random_blocks(type_, 20 * 5)
    width = SIZES[type_][1]
    blocks.reshape(20, 5, -1)[16, 3] = np.array([bits], "<u4").view(np.uint8)[:width]
    with pytest.raises(GGUFError, match=r"row 16, column 3: not finite"):
        _core.pack_unpack(blocks, type_, 20, 5)


def test_what_is_not_whole_or_not_supported_is_refused() -> None:
    with pytest.raises(ValueError, match="whole blocks"):
        _core.dequantize(np.zeros(19, np.uint8), "Q4_0")
    with pytest.raises(ValueError, match="fit the shape"):
        _core.pack_unpack(np.zeros(18, np.uint8), "Q4_0", 1, 31)
    with pytest.raises(ValueError, match="fit the shape"):
        _core.pack_unpack(np.zeros(144, np.uint8), "Q4_K", 1, 128)
    with pytest.raises(UnsupportedError, match="IQ2_XXS"):
        _core.dequantize(np.zeros(66, np.uint8), "IQ2_XXS")
    with pytest.raises(UnsupportedError, match="Q9_9"):
        _core.pack_unpack(np.zeros(84, np.uint8), "Q9_9", 1, 32)
