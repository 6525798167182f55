"""How a model keeps its keys and values: `Model(kv_type=...)`."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import tiny_gguf
from budgets import SMOLLM2_Q8_0_KL, worst_row
from test_accuracy import TEXT, log_softmax
from test_attention import SHAPES, make

import pyruntime.model
from pyruntime import Model, _core
from pyruntime.errors import MemoryLimitError
from pyruntime.model import KVType

TYPES: tuple[KVType, ...] = get_args(KVType)
# Bytes of an element as it is stored, scales included.
ELEMENT = {"f32": 4.0, "f16": 2.0, "q8_0": 1 + 2 / 32}
BLOCK = {"f32": 16, "f16": 16, "q8_0": 32}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("kv") / "m.gguf")


def test_an_unknown_type_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match=r"kv_type must be one of f16, f32, q8_0, not 'q4_0'"):
        Model(path, kv_type="q4_0")  # type: ignore[arg-type]


def test_the_command_line_offers_them_all() -> None:
    from pyruntime.cli import options

    assert sorted(options.KV_TYPES) == sorted(TYPES)


def test_each_rounds_more_than_the_one_before(path: Path) -> None:
    ids = tiny_gguf.ids(300)
    with Model(path, threads=2, kv_type="f32") as model:
        assert model.kv_type == "f32"
        exact = model.logits(ids)
    errors = {}
    for kv_type in TYPES:
        with Model(path, threads=2, kv_type=kv_type) as model:
            errors[kv_type] = worst_row(model.logits(ids), exact)
    assert errors["f32"] == 0 < errors["f16"] < errors["q8_0"] < 0.2


@pytest.mark.parametrize("kv_type", TYPES)
def test_sessions_have_the_bits_of_a_cold_run(kv_type: KVType, path: Path) -> None:
    ids, other = tiny_gguf.ids(200), tiny_gguf.ids(70, seed=1)
    with Model(path, threads=1, kv_type=kv_type) as single, Model(path, threads=2, kv_type=kv_type) as model:
        expected = single.logits(ids)
        with model.session() as session:
            session.append(ids[:100])
            with session.fork() as child:
                branch = child.logits(other)
            assert branch.tobytes() == single.logits(np.concatenate([ids[:100], other]))[100:].tobytes()
            assert session.logits(ids[100:]).tobytes() == expected[100:].tobytes()
            session.rewind(65)
            one_by_one = [session.logits(ids[i : i + 1]) for i in range(65, 130)]
            assert np.concatenate(one_by_one).tobytes() == expected[65:130].tobytes()


@pytest.mark.parametrize("kv_type", TYPES)
@pytest.mark.parametrize("name", ["grouped heads", "wide values", "ragged", "latent, ragged", "latent, DeepSeek's"])
def test_bytes_of_a_page(name: str, kv_type: KVType, tmp_path: Path) -> None:
    """Rows are padded to whole vectors or blocks, interleaved keys of floats are not; a latent cache is stored once."""
    shape = SHAPES[name]
    case = make(tmp_path, shape)
    block, element = BLOCK[kv_type], ELEMENT[kv_type]
    key, value = (-(-n // block) * block for n in (shape.head_dim, shape.value_dim))
    keys = key if kv_type == "q8_0" else shape.head_dim
    elements = key if shape.latent else shape.n_kv_heads * (keys + value)
    page_bytes = _core.kv_page_bytes(list(case.plan.caches), kv_type)
    assert page_bytes == 64 * elements * element
    assert case.engine(kv_type).counters()["page_bytes"] == page_bytes


def test_a_smaller_type_lets_more_context_fit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyruntime.memory_plan, "available_memory", lambda: 100 << 20)
    fits = {}
    for kv_type in TYPES:
        with pytest.raises(MemoryLimitError, match="the largest context that fits is") as error:
            Model(path, threads=1, context=1 << 20, kv_type=kv_type)
        fits[kv_type] = int(str(error.value).rsplit(" ", 1)[1])
        Model(path, threads=1, context=fits[kv_type], kv_type=kv_type).close()
    assert fits["f16"] == pytest.approx(2 * fits["f32"], rel=0.01)
    assert fits["q8_0"] > 1.4 * fits["f16"]  # heads of 24 are padded to 32


@pytest.mark.model
def test_kl_divergence_of_q8_0_from_f16(model_path: Path) -> None:
    """Mean of KL(P_f16 || P_q8_0) over two sequences of 1,024 tokens."""
    divergences = []
    with Model(model_path) as exact, Model(model_path, kv_type="q8_0") as model:
        ids = np.asarray(model.tokenizer.encode(TEXT.read_text(encoding="utf-8")))
        for piece in np.split(ids[:2048], 2):
            with exact.session() as a, model.session() as b:
                for rows in np.split(piece, 8):
                    p, q = log_softmax(a.logits(rows)), log_softmax(b.logits(rows))
                    divergences.append((np.exp(p) * (p - q)).sum(axis=-1))
    mean = np.concatenate(divergences).mean()
    print(f"mean KL divergence {mean:.6f}")
    assert 0 < mean <= SMOLLM2_Q8_0_KL
