"""Sessions on disk, and scores: the same bits after loading, and a file that is hostile, damaged or of another model."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import tiny_gguf
from families.catalogue import ALL

from pyruntime import Model
from pyruntime.errors import ContextError, NumericsError, SessionFileError

IDS = tiny_gguf.ids(300)
HEADER = 48  # bytes before the ids


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("session-file") / "tiny.gguf")


@pytest.fixture(scope="module")
def model(path: Path) -> Iterator[Model]:
    with Model(path, threads=2, context=512) as model:
        yield model


@pytest.fixture
def saved(model: Model, tmp_path: Path) -> Path:
    """200 tokens: three whole pages and a part."""
    with model.session() as session:
        session.append(IDS[:200])
        session.save(tmp_path / "saved.session")
    return tmp_path / "saved.session"


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 200])
def test_a_loaded_session_goes_on_with_the_same_bits(path: Path, model: Model, tmp_path: Path, n: int) -> None:
    file = tmp_path / "a.session"
    with model.session() as session:
        if n:
            session.append(IDS[:n])
        session.save(file)
        expected = session.append(IDS[n : n + 50])
    with Model(path, threads=1, context=512) as other, other.session() as session:  # another process would do as well
        session.append(IDS[100:110])  # which loading replaces
        session.load(file)
        assert session.ids == IDS[:n].tolist()
        assert session.append(IDS[n : n + 50]).tobytes() == expected.tobytes()
    assert model.engine.counters()["pages"] == 0


@pytest.mark.parametrize("kv_type", ["f32", "q8_0"])
def test_other_kv_types(path: Path, saved: Path, kv_type: Literal["f32", "q8_0"]) -> None:
    with Model(path, threads=2, context=512, kv_type=kv_type) as model, model.session() as session:
        with pytest.raises(SessionFileError, match="saved with another model, version or KV type"):
            session.load(saved)
        session.append(IDS[:200])
        session.save(saved)
        expected = session.append(IDS[200:250])
        session.load(saved)
        assert session.append(IDS[200:250]).tobytes() == expected.tobytes()


def test_a_latent_cache(tmp_path: Path) -> None:
    case = ALL["deepseek2-v3"]
    ids = case.ids(150)
    with Model(case.write(tmp_path / "a.gguf"), threads=2) as model, model.session() as session:
        session.append(ids[:100])
        session.save(tmp_path / "a.session")
        expected = session.append(ids[100:])
        session.load(tmp_path / "a.session")
        assert session.append(ids[100:]).tobytes() == expected.tobytes()
        values = session.capture(["blk.1.attn_out", "blk.1.ffn_routes", "logits"])
        assert values["logits"].tobytes() == model.logits(ids).tobytes()


def test_only_whole_pages_are_computed_no_more(model: Model, saved: Path) -> None:
    before = model.engine.counters()["tokens"]
    with model.session() as session:
        session.load(saved)
        assert model.engine.counters()["tokens"] == before + 200 % 64


def test_only_what_is_used_is_saved(model: Model, saved: Path) -> None:
    assert saved.stat().st_size == HEADER + 200 * 4 + 3 * model.engine.page_bytes + 32


def test_a_file_is_replaced_at_once_or_not_at_all(model: Model, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with model.session() as session:
        session.append(IDS[:70])
        with pytest.raises(OSError, match="No space left"):
            session.save(saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_another_model_is_refused(tmp_path: Path, saved: Path) -> None:
    """The same shapes, one weight changed."""
    weight = tiny_gguf.random_weight("blk.1.ffn_down.weight", tiny_gguf.SHAPES["blk.1.ffn_down.weight"])
    weight[3, 5] += 1
    other = tiny_gguf.write(tmp_path / "b.gguf", tensors={"blk.1.ffn_down.weight": weight})
    theta = tiny_gguf.write(tmp_path / "c.gguf", metadata={"llama.rope.freq_base": 6000.0})
    for file in (other, theta):
        message = r"saved\.session: fingerprint at offset 8: saved with another"
        with (
            Model(file, threads=1, context=512) as m,
            m.session() as session,
            pytest.raises(SessionFileError, match=message),
        ):
            session.load(saved)


def test_a_context_that_is_too_small(path: Path, saved: Path) -> None:
    with Model(path, threads=1, context=150) as model, model.session() as session:
        session.append(IDS[:5])
        with pytest.raises(ContextError, match="200 tokens do not fit the context of 150"):
            session.load(saved)
        assert session.ids == IDS[:5].tolist()


def test_every_truncation_and_every_changed_byte_is_refused(model: Model, saved: Path) -> None:
    """And leaves the session as it was."""
    whole = saved.read_bytes()
    places = [*range(0, HEADER + 40), *np.random.default_rng(0).integers(0, len(whole), 60).tolist(), len(whole) - 1]
    with model.session() as session:
        session.append(IDS[:3])
        for at in places:
            changed = bytearray(whole)
            changed[at] ^= 0x55
            for content in (whole[:at], bytes(changed)):
                saved.write_bytes(content)
                with pytest.raises((SessionFileError, ContextError), match=r"saved\.session: ") as caught:
                    session.load(saved)
                assert "\n" not in str(caught.value)
        assert session.ids == IDS[:3].tolist()
    assert model.engine.counters()["pages"] == 0


def forged(whole: bytes, at: int, part: bytes) -> bytes:
    """With other bytes at a place, and a check sum that fits."""
    content = whole[:at] + part + whole[at + len(part) : -32]
    return content + hashlib.sha256(content).digest()


def test_values_that_a_forger_would_try(model: Model, saved: Path) -> None:
    whole = saved.read_bytes()
    cases = {
        forged(whole, 40, struct.pack("<Q", 1 << 62)): "number of tokens at offset 40",
        forged(whole, 40, struct.pack("<Q", (1 << 64) - 1)): "number of tokens at offset 40",
        forged(whole, HEADER + 400, struct.pack("<i", -1)): f"token ids at offset {HEADER + 400}: -1 is outside",
        forged(whole, HEADER, struct.pack("<i", tiny_gguf.N_VOCAB)): f"token ids at offset {HEADER}: ",
        whole + b"x": "number of tokens at offset 40",
    }
    with model.session() as session:
        for content, message in cases.items():
            saved.write_bytes(content)
            with pytest.raises(SessionFileError, match=message):
                session.load(saved)
        saved.write_bytes(forged(whole, HEADER + 800, b"\xff" * 4000))  # keys and values that are not numbers
        with pytest.raises(NumericsError):  # in the logits of the tokens that are computed again
            session.load(saved)
        assert len(session) == 0


def test_a_path_that_a_terminal_would_obey(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "a\nb\x1b[31m.session"
    path.write_bytes(bytes(100))
    with model.session() as session, pytest.raises(SessionFileError) as caught:
        session.load(path)
    assert (
        str(caught.value) == rf"{tmp_path}/a\nb\x1b[31m.session: header at offset 0: not a session file of this version"
    )


def test_pages_come_whole_and_after_whole_ones(model: Model) -> None:
    with model.session() as session:
        session.append(IDS[:70])
        sequence = session.sequence
        page = sequence.read_page(0)
        for index in (-1, 1, 1 << 40):
            with pytest.raises(ValueError, match=f"page {index} of 1 whole ones"):
                sequence.read_page(index)
        with pytest.raises(ValueError, match="a page can only follow whole pages"):
            sequence.append_page(IDS[:64], page)
        session.rewind(64)
        for ids, values in ((IDS[:63], page), (IDS[:64], page[1:]), (IDS[:64], np.append(page, page[:1]))):
            with pytest.raises(ValueError, match=f"a page has 64 ids and {len(page)} bytes"):
                sequence.append_page(ids, values)
        with pytest.raises(ValueError, match="token id -1 is outside"):
            sequence.append_page(np.append(IDS[:63], np.int32(-1)), page)
        assert session.ids == IDS[:64].tolist()


# Scores


def log_softmax(logits: np.ndarray) -> np.ndarray:
    x = logits.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def test_a_score_is_the_log_softmax_of_the_logits(model: Model) -> None:
    with model.session() as session:
        score = session.score(IDS[:100], top_k=3)
        assert len(session) == 0
    expected = log_softmax(model.logits(IDS[:100])[:-1])
    assert np.isnan(score.logprobs[0])
    assert score.top_ids[0].tolist() == [-1] * 3
    np.testing.assert_allclose(score.logprobs[1:], expected[np.arange(99), IDS[1:100]], atol=2e-6)
    order = np.argsort(-expected, axis=-1, kind="stable")[:, :3]
    assert (score.top_ids[1:] == order).all()
    np.testing.assert_allclose(score.top_logprobs[1:], np.take_along_axis(expected, order, -1), atol=2e-6)
    assert score.total == pytest.approx(np.nansum(score.logprobs))


def test_a_score_goes_on_from_what_is_held(model: Model) -> None:
    """To the bit, wherever the text is cut."""
    with model.session() as session:
        whole = session.score(IDS[:200], top_k=2)
        session.append(IDS[:77])
        rest = session.score(IDS[77:200], top_k=2)
        assert len(session) == 77
    assert rest.logprobs.tobytes() == whole.logprobs[77:].tobytes()
    assert rest.top_ids.tobytes() == whole.top_ids[77:].tobytes()
    assert rest.top_logprobs.tobytes() == whole.top_logprobs[77:].tobytes()


def test_a_text_is_tokenized_as_a_prompt_is(model: Model) -> None:
    with model.session() as session:
        score = session.score("the hat")
        assert score.ids.tolist() == model.encode("the hat")
        assert session.score([]).logprobs.shape == (0,)
        session.append(score.ids)
        assert session.score(" and").ids.tolist() == model.tokenizer.encode(" and", add_special=False)


def test_a_score_that_cannot_be(model: Model) -> None:
    with model.session() as session:
        with pytest.raises(ValueError, match="top_k must be between 0 and"):
            session.score(IDS[:5], top_k=-1)
        with pytest.raises(ValueError, match="outside the vocabulary"):
            session.score([tiny_gguf.N_VOCAB])
        with pytest.raises(ContextError):
            session.score(np.resize(IDS, 513))
