"""Against what others compute: transformers in float32 on real weights, and llama.cpp's perplexity. (Tiny random models of
every family: tests/families/.)

tests/data/topics-120k.txt is the beginning of the Python reference as `pydoc` shows it (pydoc_data.topics, PSF licence).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from budgets import KL_FROM_FLOAT32, PERPLEXITY, PERPLEXITY_RELATIVE
from numpy.typing import NDArray

from pyruntime import Model

TEXT = Path(__file__).parent / "data" / "topics-120k.txt"
ROWS = 64  # of logits at a time: 262,144 float64 each

Floats = NDArray[np.floating[Any]]


def log_softmax(logits: Floats) -> NDArray[np.float64]:
    x = logits.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    x -= np.log(np.exp(x).sum(axis=-1, keepdims=True))
    return x


def pieces(model: Model, n: int, length: int) -> Iterator[NDArray[np.int64]]:
    """The first n pieces of the text, as llama-perplexity cuts it: where a model adds BOS, it stands in place of the first token
    of each."""
    tokenizer = model.tokenizer
    ids = np.asarray(tokenizer.encode(TEXT.read_text(encoding="utf-8")))
    for piece in np.split(ids[: n * length], n):
        if tokenizer.add_bos:
            piece[0] = tokenizer.bos_id
        yield piece


@pytest.mark.model
@pytest.mark.reference
@pytest.mark.parametrize("name", KL_FROM_FLOAT32)
def test_kl_divergence_from_float32(name: str, real_model: Callable[[str], Path]) -> None:
    """Mean of KL(P_float32 || P_ours) over two sequences of 1,024 tokens, of the same weights dequantized."""
    from families.checkpoint import hidden_states, load, logits  # torch

    path = real_model(name)
    reference = load(path)
    divergences = []
    with Model(path, context=1024) as model:
        for piece in pieces(model, 2, 1024):
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
@pytest.mark.parametrize("name", PERPLEXITY)
def test_perplexity(name: str, real_model: Callable[[str], Path]) -> None:
    """As `llama-perplexity -c 512 --chunks 40`: each chunk alone, the second half of its tokens scored."""
    half = 256
    surprises = []
    with Model(real_model(name), context=512) as model:
        for chunk in pieces(model, 40, 2 * half):
            with model.session() as session:
                session.append(chunk[:half])
                for at in range(half, len(chunk) - 1, ROWS):
                    following = chunk[at + 1 : at + 1 + ROWS]
                    log_p = log_softmax(session.logits(chunk[at : at + len(following)]))
                    surprises.append(-log_p[np.arange(len(following)), following])
    assert sum(map(len, surprises)) == 40 * (half - 1)
    perplexity = math.exp(np.concatenate(surprises).mean())
    print(f"{name}: perplexity {perplexity:.4f}")
    assert perplexity == pytest.approx(PERPLEXITY[name], rel=PERPLEXITY_RELATIVE)
