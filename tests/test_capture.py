"""Values inside the model, as NumPy arrays: against the interpreter, and the same bits however they are computed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_gguf
from budgets import FLOAT32, KV_FLOAT16, worst_row

from pyruntime import Model
from pyruntime.errors import ContextError
from pyruntime.plan.reference import ReferenceInterpreter, from_gguf

IDS = tiny_gguf.ids(130)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("capture") / "tiny.gguf", "F32")


@pytest.fixture(scope="module")
def model(path: Path) -> Iterator[Model]:
    with Model(path, threads=2, context=1024) as model:
        yield model


def test_every_value_against_the_interpreter(path: Path, model: Model) -> None:
    """Computed in float64 from the same plan, taken apart."""
    interpreter = from_gguf(path)
    unfused = ReferenceInterpreter(model.unfused_plan, interpreter._weight)
    logits = unfused.run(IDS)
    assert np.allclose(logits, interpreter.run(IDS), rtol=1e-12)
    with model.session() as session:
        found = session.capture(model.value_names, IDS)
    assert set(found) == set(model.value_names)
    for name, value in found.items():
        expected = unfused.values[unfused.plan.names[name]]
        assert value.shape == expected.shape, name
        assert worst_row(value, expected) < KV_FLOAT16 + FLOAT32, name


def test_names_that_people_look_for(model: Model) -> None:
    layer = [
        "attn_norm",
        "attn_q",
        "attn_q.rope",
        "attn_k.rope",
        "attn_v",
        "attn_out",
        "attn_output",
        "attn_output.add",
    ]
    layer += ["ffn_norm", "ffn_gate", "ffn_up", "ffn_act", "ffn_down", "ffn_down.add", "out"]
    names = {"token_embd", "output_norm", "logits"} | {f"blk.{i}.{name}" for i in (0, 1) for name in layer}
    assert names <= set(model.value_names)


@pytest.mark.parametrize("weight_type", ["F32", "Q4_1", "Q8_0"])
def test_the_logits_have_the_same_bits(tmp_path: Path, weight_type: str) -> None:
    with Model(tiny_gguf.write(tmp_path / "a.gguf", weight_type), threads=2) as model, model.session() as session:
        assert session.capture("logits", IDS).tobytes() == model.logits(IDS).tobytes()


def test_the_same_bits_in_parts_and_of_what_is_held(model: Model) -> None:
    name = "blk.1.attn_out"
    with model.session() as session:
        whole = session.capture(name, IDS)
        assert session.ids == IDS.tolist()
        assert session.capture(name).tobytes() == whole.tobytes()
        assert session.ids == IDS.tolist()  # and nothing was added
    with model.session() as session:
        parts = [session.capture(name, IDS[at : at + 7]) for at in range(0, len(IDS), 7)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_the_session_goes_on_as_if_the_tokens_had_been_appended(model: Model) -> None:
    with model.session() as captured, model.session() as appended:
        captured.capture("blk.0.out", IDS[:100])
        appended.append(IDS[:100])
        assert captured.append(IDS[100:]).tobytes() == appended.append(IDS[100:]).tobytes()


def test_more_tokens_than_a_step_takes(model: Model) -> None:
    ids = tiny_gguf.ids(600)
    with model.session() as session:
        rows = session.capture("output_norm", ids)
    assert rows.shape == (600, tiny_gguf.D_MODEL)
    assert np.isfinite(rows).all()


def test_nothing_held_gives_no_rows(model: Model) -> None:
    with model.session() as session:
        assert session.capture("blk.0.out").shape == (0, tiny_gguf.D_MODEL)


def test_what_is_refused(model: Model) -> None:
    with model.session() as session:
        with pytest.raises(ValueError, match=r"no value 'blk\.0\.atn_out'; did you mean .*blk\.0\.attn_out"):
            session.capture("blk.0.atn_out", IDS)
        with pytest.raises(ValueError, match="outside the vocabulary"):
            session.capture("logits", [tiny_gguf.N_VOCAB])
        with pytest.raises(ContextError):
            session.capture("logits", np.zeros(1025, np.int32))
        assert len(session) == 0
