"""The contract of docs/numerics.md for every weight format: one model of all of them has the same bits on every instruction
set, with any number of threads, however its tokens are cut into steps. (kernel_check has the kernels one by one.)
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_models import WIDE, every_type, write_llama

from pyruntime import _core
from pyruntime.plan.reference import from_gguf

SHAPE = replace(WIDE, n_layers=5)
IDS = np.random.default_rng(0).integers(0, SHAPE.n_vocab, 70).astype(np.int32)
CHUNKS = (len(IDS), 13, 4, 1)  # panels of whole tiles and of the rest; straight from the packed weights


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    types = every_type(SHAPE)
    assert set(types.values()) == set(_core.supported_types())
    return write_llama(tmp_path_factory.mktemp("formats") / "every.gguf", SHAPE, types)


def logits(path: Path, isa: str, threads: int, chunk: int) -> NDArray[np.uint32]:
    """The bits of all positions' logits."""
    plan = from_gguf(path).plan
    engine = _core.Engine(
        _core.GGUF(path),
        plan.weight_names,
        plan.for_core(),
        context=512,
        max_tokens=len(IDS),
        n_threads=threads,
        kv_type="f16",
        kv_max_bytes=1 << 26,
        isa=isa,
    )
    assert (engine.isa, engine.n_threads) == (isa, threads)
    sequence = engine.sequence()
    rows = [engine.step([(sequence, IDS[at : at + chunk], 2)]) for at in range(0, len(IDS), chunk)]
    return np.concatenate(rows).view(np.uint32)


@pytest.fixture(scope="module")
def expected(path: Path) -> NDArray[np.uint32]:
    return logits(path, "scalar", 1, len(IDS))


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("isa", _core.available_isas())
def test_every_format(isa: str, chunk: int, path: Path, expected: NDArray[np.uint32]) -> None:
    for threads in (1, 2, 3):
        np.testing.assert_array_equal(logits(path, isa, threads, chunk), expected)
