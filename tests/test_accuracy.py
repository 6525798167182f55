"""Against what others compute: transformers in float32 on tiny and on real weights, and llama.cpp's perplexity.

tests/data/topics-120k.txt is the beginning of the Python reference as `pydoc` shows it (pydoc_data.topics, PSF licence).
"""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from budgets import (
    FLOAT32,
    KV_FLOAT16,
    SMOLLM2_KL,
    SMOLLM2_PERPLEXITY,
    SMOLLM2_PERPLEXITY_RELATIVE,
    TRANSFORMERS_FLOAT32,
    worst_row,
)
from numpy.typing import NDArray
from tiny_models import Llama, random_weights, write

from pyruntime import Model
from pyruntime.plan.reference import from_gguf

TEXT = Path(__file__).parent / "data" / "topics-120k.txt"
ROWS = 128  # of logits at a time: 49,152 float64 each

Floats = NDArray[np.floating[Any]]


@pytest.fixture(scope="module")
def hf() -> ModuleType:
    """tests/transformers_llama.py; torch is imported for these tests alone."""
    pytest.importorskip("transformers", minversion="5.0", reason="needs pip install '.[reference]'")
    import transformers_llama

    return transformers_llama


def log_softmax(logits: Floats) -> NDArray[np.float64]:
    x = logits.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


# Tiny random models


@pytest.mark.reference
@pytest.mark.parametrize(
    "shape", [Llama(), Llama(n_layers=4, d_model=64, n_heads=4, n_kv_heads=1, head_dim=16, n_rot=16, tied=True)]
)
def test_a_tiny_llama_is_transformers(shape: Llama, tmp_path: Path, hf: ModuleType) -> None:
    """The GGUF's rows of q and k are permuted; transformers sees them in its own order."""
    weights = random_weights(shape)
    path = write(tmp_path / "a.gguf", weights, shape.metadata)
    ids = np.random.default_rng(0).integers(0, shape.n_vocab, 150)
    checkpoint = hf.build(shape.metadata, weights)
    expected = hf.logits(checkpoint, hf.hidden_states(checkpoint, ids))
    assert worst_row(from_gguf(path).run(ids), expected) <= TRANSFORMERS_FLOAT32
    with Model(path) as model:
        assert FLOAT32 < worst_row(model.logits(ids), expected) <= KV_FLOAT16


# SmolLM2-135M-Instruct Q4_1


@pytest.fixture(scope="module")
def model(model_path: Path) -> Any:
    with Model(model_path) as model:
        yield model


@pytest.fixture(scope="module")
def ids(model: Model) -> NDArray[np.int64]:
    return np.asarray(model.tokenizer.encode(TEXT.read_text(encoding="utf-8")))


@pytest.mark.model
@pytest.mark.reference
def test_kl_divergence_from_float32(model: Model, model_path: Path, ids: NDArray[np.int64], hf: ModuleType) -> None:
    """Mean of KL(P_float32 || P_ours) over two sequences of 1,024 tokens."""
    reference = hf.load_gguf(model_path)
    divergences = []
    for piece in np.split(ids[:2048], 2):
        hidden = hf.hidden_states(reference, piece)
        with model.session() as session:
            for at in range(0, len(piece), ROWS):
                p = log_softmax(hf.logits(reference, hidden[at : at + ROWS]))
                q = log_softmax(session.logits(piece[at : at + ROWS]))
                divergences.append((np.exp(p) * (p - q)).sum(axis=-1))
    mean = np.concatenate(divergences).mean()
    print(f"mean KL divergence {mean:.6f}")
    assert 0 < mean <= SMOLLM2_KL


@pytest.mark.model
@pytest.mark.slow
def test_perplexity(model: Model, ids: NDArray[np.int64]) -> None:
    """As `llama-perplexity -c 512 --chunks 40`: each chunk alone, the second half of its tokens scored.

    SmolLM2 adds no BOS; for a model that does, llama-perplexity puts it in place of each chunk's first token.
    """
    assert not model.metadata["tokenizer.ggml.add_bos_token"]
    n, half = 512, 256
    surprises = []
    for chunk in np.split(ids[: 40 * n], 40):
        with model.session() as session:
            session.append(chunk[:half])
            logits = session.logits(chunk[half:-1])
        surprises.append(-log_softmax(logits)[np.arange(len(logits)), chunk[half + 1 :]])
    perplexity = math.exp(np.concatenate(surprises).mean())
    print(f"perplexity {perplexity:.4f}")
    assert perplexity == pytest.approx(SMOLLM2_PERPLEXITY, rel=SMOLLM2_PERPLEXITY_RELATIVE)
