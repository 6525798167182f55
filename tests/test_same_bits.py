"""The contract of docs/numerics.md end to end: the same bits on every instruction set, with any number of threads, however
the tokens are cut into steps, alone or in a batch, from a cold or a forked prefix, and whatever the caller has done to the
floating-point state.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import os
import platform
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tiny_gguf
from numpy.typing import NDArray

from pyruntime import Model, _core
from pyruntime.catalogue import DEFAULT
from pyruntime.session import ALL

Ids = NDArray[np.int32]
Logits = NDArray[np.float32]
Reference = Callable[[Path, Ids], Logits]

ISAS = _core.available_isas()
THREADS = (1, 2, 3)
DIRECT = 4  # tokens up to which a step multiplies straight from the packed weights; more of them take the panel kernels
FORKS = (63, 64, 65, 128)  # around the borders of KV pages

# sha256 of the logits of the positions of golden_ids(), little endian, as scalar code, AVX2 and AVX-512 VNNI found it. Every
# other machine must find the same. What changes it is a change of docs/numerics.md.
GOLDEN = {
    "smollm2-135m-instruct": "ab0ba5c902f7a3110867758ee465943ef059d33b5e602e61fe78fbfd7a8735fc",
    "qwen2.5-coder-0.5b-instruct": "ab92d46db15f2524a4990c3bdc30fe9060d7a1ef0ef0fbfdb12ed18c569d3a0e",
    "gemma3-270m": "9a4683e8782868249bf5cd6a00fccb094bcefba13297b5dbf47a6f4650894c21",
}
MODELS = [pytest.param(name, marks=[pytest.mark.slow] * (name != DEFAULT)) for name in GOLDEN]


def golden_ids(n_vocab: int) -> Ids:
    """80 of them, by a rule that no generator's next version changes."""
    return np.array([(7919 * i * i + 104729 * i + 17) % n_vocab for i in range(80)], np.int32)


def sha256(logits: Logits) -> str:
    return hashlib.sha256(logits.astype("<f4").tobytes()).hexdigest()


def load(path: Path, isa: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setenv("PYRUNTIME_ISA", isa)
    model = Model(path, threads=threads, context=1024)
    assert (model.isa, model.threads) == (isa, threads)
    return model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny model in each format."""
    folder = tmp_path_factory.mktemp("tiny")
    return {name: tiny_gguf.write(folder / f"{name}.gguf", name) for name in tiny_gguf.FORMATS}


@pytest.fixture(scope="module")
def reference() -> Reference:
    """Logits of all positions by the specification: scalar code, one thread, a cold session, steps as large as they come."""
    models: dict[Path, Model] = {}
    known: dict[tuple[Path, bytes], Logits] = {}

    def logits(path: Path, ids: Ids) -> Logits:
        if path not in models:
            with pytest.MonkeyPatch.context() as monkeypatch:
                models[path] = load(path, "scalar", 1, monkeypatch)
        key = (path, ids.tobytes())
        if key not in known:
            known[key] = models[path].logits(ids)
        return known[key]

    return logits


def of_all_ways(model: Model, ids: Ids, n_single: int, chunk: int = 21) -> Iterator[tuple[str, Logits]]:
    """Logits of all positions, computed in one go; in chunks, of so many that weights are unpacked for them, or read as they are;
    and, from position 40 on, token by token."""
    engine = model.engine
    yield "whole", model.logits(ids)
    assert engine.counters()["largest_step"] == min(len(ids), engine.max_tokens)

    for size in (chunk, 7):
        with model.session() as session:
            parts = [session.logits(ids[at : at + size]) for at in range(0, len(ids[:150]), size)]
        yield f"chunks of {size}", np.concatenate(parts)

    before = engine.counters()
    with model.session() as session:
        parts = [session.logits(ids[:40])] + [session.logits(ids[i : i + 1]) for i in range(40, 40 + n_single)]
    after = engine.counters()
    assert after["direct_steps"] - before["direct_steps"] == n_single
    assert after["steps"] - before["steps"] == n_single + 1
    yield "token by token", np.concatenate(parts)


def assert_all_threads_worked(model: Model) -> None:
    items = model.engine.items_by_thread()
    assert len(items) == model.threads
    assert min(items) > 0


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("weight_type", tiny_gguf.FORMATS)
class TestTiny:
    def test_steps(
        self,
        weight_type: str,
        isa: str,
        threads: int,
        tiny: dict[str, Path],
        reference: Reference,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        full = tiny_gguf.ids(530)
        expected = reference(tiny[weight_type], full)
        ids = full if isa != "scalar" or threads == 2 else full[:150]  # scalar code takes a second for 530
        with load(tiny[weight_type], isa, threads, monkeypatch) as model:
            for way, logits in of_all_ways(model, ids, n_single=30):
                assert sha256(logits) == sha256(expected[: len(logits)]), way
            assert_all_threads_worked(model)

    def test_batch(
        self,
        weight_type: str,
        isa: str,
        threads: int,
        tiny: dict[str, Path],
        reference: Reference,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        held, new = (0, 10, 63, 64, 100), (5, 1, 2, 40, 7)
        texts = [tiny_gguf.ids(h + n, seed=1 + i) for i, (h, n) in enumerate(zip(held, new, strict=True))]
        with load(tiny[weight_type], isa, threads, monkeypatch) as model:
            sessions = [model.session() for _ in texts]
            for session, text, n in zip(sessions, texts, held, strict=True):
                if n:
                    session.append(text[:n])
            before = model.engine.counters()["steps"]
            logits = model.engine.step(
                [(s.sequence, text[n:], ALL) for s, text, n in zip(sessions, texts, held, strict=True)]
            )
            assert model.engine.counters()["steps"] == before + 1
            assert_all_threads_worked(model)
        for i, rows in enumerate(np.split(logits, np.cumsum(new)[:-1])):
            assert sha256(rows) == sha256(reference(tiny[weight_type], texts[i])[held[i] :]), f"sequence {i}"

    def test_forked_prefix(
        self,
        weight_type: str,
        isa: str,
        threads: int,
        tiny: dict[str, Path],
        reference: Reference,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        ids, other = tiny_gguf.ids(530), tiny_gguf.ids(9, seed=1)
        with load(tiny[weight_type], isa, threads, monkeypatch) as model, model.session() as parent:
            for at in FORKS:
                parent.append(ids[len(parent) : at])
                with parent.fork() as child:
                    forked = child.logits(
                        other
                    )  # before the parent goes on, so that whichever writes first may do harm
                    cold = reference(tiny[weight_type], np.concatenate([ids[:at], other]))
                    assert sha256(forked) == sha256(cold[at:]), at
                    after = parent.fork().logits(ids[at : at + 9])
                    assert sha256(after) == sha256(reference(tiny[weight_type], ids)[at : at + 9]), at
                    assert child.ids == [*ids[:at], *other]
                assert parent.ids == ids[:at].tolist()


@dataclass(frozen=True)
class Real:
    """A real model's logits of 100 random tokens, and of the last 10 of 530, which are more than a step and Gemma's window."""

    path: Path
    ids: Ids
    logits: Logits
    last: Logits


@pytest.fixture(scope="module", params=MODELS)
def real(request: pytest.FixtureRequest, real_model: Callable[[str], Path]) -> Real:
    """By the best instruction set on one thread; the golden ties it to the scalar specification."""
    path = real_model(request.param)
    with pytest.MonkeyPatch.context() as monkeypatch, load(path, ISAS[0], 1, monkeypatch) as model:
        ids = np.random.default_rng(2).integers(0, model.n_vocab, 530, np.int32)
        with model.session() as session:
            session.append(ids[:520])
            return Real(path, ids, model.logits(ids[:100]), session.logits(ids[520:]))


@pytest.mark.model
@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("isa", [i for i in ISAS if i != "scalar"])
class TestReal:
    def test_steps(self, isa: str, threads: int, real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
        with load(real.path, isa, threads, monkeypatch) as model:
            for way, logits in of_all_ways(model, real.ids[:100], n_single=26):
                assert sha256(logits) == sha256(real.logits[: len(logits)]), way
            assert_all_threads_worked(model)

    def test_batch_of_a_forked_prefix(
        self, isa: str, threads: int, real: Real, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids = real.ids
        with load(real.path, isa, threads, monkeypatch) as model, model.session() as parent:
            parent.append(ids[:65])
            with parent.fork() as child:
                child.append(ids[:3])
                logits = model.engine.step([(child.sequence, ids[3:5], ALL), (parent.sequence, ids[65:70], ALL)])
            assert sha256(logits[2:]) == sha256(real.logits[65:70])
            for at in range(70, 520, 225):
                parent.append(ids[at : at + 225])
            assert sha256(parent.logits(ids[520:])) == sha256(real.last)
            assert_all_threads_worked(model)


@pytest.mark.model
@pytest.mark.parametrize("isa", [pytest.param(i, marks=[pytest.mark.slow] * (i == "scalar")) for i in ISAS])
@pytest.mark.parametrize("name", MODELS)
def test_golden(name: str, isa: str, real_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with load(real_model(name), isa, 2, monkeypatch) as model:
        assert sha256(model.logits(golden_ids(model.n_vocab))) == GOLDEN[name]


# The floating-point state: C's name for upward rounding; where fenv_t keeps the control word, and its bits that flush
# denormals to zero.
UPWARD = {"x86_64": 0x800, "aarch64": 0x400000}
CONTROL_WORD = {"x86_64": (28, 0x8040), "aarch64": (0, 1 << 24)}

needs_fenv = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or platform.machine() not in UPWARD,
    reason="knows glibc's fenv_t on x86-64 and ARM64 alone",
)


@contextmanager
def hostile_floats() -> Iterator[Callable[[], tuple[int, int]]]:
    """Rounds upward and flushes denormals to zero in this thread; yields what tells (rounding mode, control word)."""
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    saved, changed, now = (ctypes.create_string_buffer(64) for _ in range(3))
    at, flush = CONTROL_WORD[platform.machine()]

    def state() -> tuple[int, int]:
        libm.fegetenv(now)
        word: int = struct.unpack_from("<I", now, at)[0]
        return int(libm.fegetround()), word & flush

    libm.fegetenv(saved)
    try:
        assert libm.fesetround(UPWARD[platform.machine()]) == 0
        libm.fegetenv(changed)
        struct.pack_into("<I", changed, at, struct.unpack_from("<I", changed, at)[0] | flush)
        libm.fesetenv(changed)
        assert state() == (UPWARD[platform.machine()], flush)
        yield state
    finally:
        libm.fesetenv(saved)


@needs_fenv
@pytest.mark.parametrize("isa", ISAS)
def test_the_callers_floating_point_state_changes_nothing(
    isa: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A head so small that all logits are denormal: flushed to zero, they would all be zeros.
    head = tiny_gguf.random_weight("output.weight", tiny_gguf.SHAPES["output.weight"]) * np.float32(2**-70)
    norm = tiny_gguf.random_weight("output_norm.weight", tiny_gguf.SHAPES["output_norm.weight"]) * np.float32(2**-70)
    path = tiny_gguf.write(tmp_path / "m.gguf", "F32", tensors={"output.weight": head, "output_norm.weight": norm})
    ids = tiny_gguf.ids(20)
    with load(path, isa, 2, monkeypatch) as model:
        expected = model.logits(ids)
        assert np.count_nonzero(expected) == expected.size
        assert np.abs(expected).max() < np.finfo(np.float32).tiny
        with hostile_floats() as state:
            before = state()
            logits = model.logits(ids)
            assert state() == before
        assert sha256(logits) == sha256(expected)


@needs_fenv
def test_nor_does_the_state_while_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan's numbers are rounded while loading, and workers inherit the state of the thread that starts them."""
    eps = {
        "llama.attention.layer_norm_rms_epsilon": 0.7
    }  # a float64 that rounds down to float32, and large enough to matter
    path, ids = tiny_gguf.write(tmp_path / "m.gguf", metadata=eps), tiny_gguf.ids(200)
    with load(path, ISAS[0], 2, monkeypatch) as model:
        expected = model.logits(ids)
    with hostile_floats() as state:
        before = state()
        model = load(path, ISAS[0], 2, monkeypatch)
        assert state() == before
    with model:
        assert sha256(model.logits(ids)) == sha256(expected)


def test_an_unknown_instruction_set_is_refused(tiny: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from pyruntime.errors import UnsupportedError

    monkeypatch.setenv("PYRUNTIME_ISA", "avx9000")
    with pytest.raises(UnsupportedError, match=r"PYRUNTIME_ISA: no instruction set named 'avx9000'.*scalar"):
        Model(tiny["F32"])
    assert os.environ["PYRUNTIME_ISA"] == "avx9000"
