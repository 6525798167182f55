"""Against what others compute: transformers in float32 on real weights, and llama.cpp's perplexity. (Tiny random models of
every family: tests/families/.)

tests/data/topics-120k.txt is the beginning of the Python reference as `pydoc` shows it (pydoc_data.topics, PSF licence).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from budgets import KL_FROM_FLOAT32, SMOLLM2_PERPLEXITY, SMOLLM2_PERPLEXITY_RELATIVE
from numpy.typing import NDArray

from pyruntime import Model

TEXT = Path(__file__).parent / "data" / "topics-120k.txt"
ROWS = 128  # of logits at a time: 262,144 float64 each

Floats = NDArray[np.floating[Any]]


def log_softmax(logits: Floats) -> NDArray[np.float64]:
    x = logits.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def text_ids(model: Model) -> NDArray[np.int64]:
    return np.asarray(model.tokenizer.encode(TEXT.read_text(encoding="utf-8")))


@pytest.mark.model
@pytest.mark.reference
@pytest.mark.parametrize("name", KL_FROM_FLOAT32)
def test_kl_divergence_from_float32(name: str, real_model: Callable[[str], Path]) -> None:
    """Mean of KL(P_float32 || P_ours) over two sequences of 1,024 tokens, of the same weights dequantized."""
    from families.checkpoint import hidden_states, load, logits  # torch

    path = real_model(name)
    reference = load(path)
    divergences = []
    with Model(path) as model:
        for piece in np.split(text_ids(model)[:2048], 2):
            if model.metadata.get("tokenizer.ggml.add_bos_token"):
                piece[0] = model.metadata["tokenizer.ggml.bos_token_id"]
            hidden = hidden_states(reference, piece)
            with model.session() as session:
                for at in range(0, len(piece), ROWS):
                    p = log_softmax(logits(reference, hidden[at : at + ROWS]))
                    q = log_softmax(session.logits(piece[at : at + ROWS]))
                    divergences.append((np.exp(p) * (p - q)).sum(axis=-1))
    mean = np.concatenate(divergences).mean()
    print(f"{name}: mean KL divergence {mean:.6f}")
    assert 0 < mean <= KL_FROM_FLOAT32[name]


@pytest.mark.model
@pytest.mark.slow
def test_perplexity(model_path: Path) -> None:
    """As `llama-perplexity -c 512 --chunks 40`: each chunk alone, the second half of its tokens scored.

    SmolLM2 adds no BOS; for a model that does, llama-perplexity puts it in place of each chunk's first token.
    """
    n, half = 512, 256
    surprises = []
    with Model(model_path) as model:
        assert not model.metadata["tokenizer.ggml.add_bos_token"]
        for chunk in np.split(text_ids(model)[: 40 * n], 40):
            with model.session() as session:
                session.append(chunk[:half])
                logits = session.logits(chunk[half:-1])
            surprises.append(-log_softmax(logits)[np.arange(len(logits)), chunk[half + 1 :]])
    perplexity = math.exp(np.concatenate(surprises).mean())
    print(f"perplexity {perplexity:.4f}")
    assert perplexity == pytest.approx(SMOLLM2_PERPLEXITY, rel=SMOLLM2_PERPLEXITY_RELATIVE)
