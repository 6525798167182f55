"""The memory plan: what is predicted before a model is loaded, against what the process then really takes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_gguf
from families.phi3 import longrope

import pyruntime.memory_plan
from pyruntime import Model
from pyruntime.errors import MemoryLimitError
from pyruntime.memory_plan import MAX_CONTEXT, MemoryPlan

MB = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tiny_gguf.write(file := tmp_path / "model.gguf")
    return file


def test_weights_and_activations_are_what_the_core_allocates(path: Path) -> None:
    with Model(path, threads=2) as model:
        counters = model.engine.counters()
        assert model.memory.weights == counters["weight_bytes"]
        assert model.memory.page == counters["page_bytes"]
        scratch = model.memory.activations - counters["arena_bytes"]
        assert 0 < scratch < MB
        assert model.memory.context == model.context


def with_limit(path: Path, free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyruntime.memory_plan, "available_memory", lambda: free)
    monkeypatch.setattr(pyruntime.memory_plan, "resident_memory", lambda: 100 * MB)


def room_for(path: Path, positions: int) -> int:
    """Free bytes that leave room for so many positions."""
    with Model(path, threads=1) as model:
        return model.memory.fixed - model.memory.process + positions // 64 * model.memory.page


def test_a_default_context_takes_three_quarters_of_what_is_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = room_for(path, 1024)
    with_limit(path, free, monkeypatch)
    with Model(path, threads=1) as model:
        assert model.trained_context > 768
        assert model.context == 768
    with Model(path, threads=1, context=1024) as model:  # asked for, it may take all
        assert model.context == 1024
    with pytest.raises(MemoryLimitError, match="the largest context that fits is 1024"):
        Model(path, threads=1, context=1025)


def test_a_default_context_of_less_than_512_takes_all_that_fits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_limit(path, room_for(path, 192), monkeypatch)
    with Model(path, threads=1) as model:
        assert model.context == 192
    with_limit(path, room_for(path, 0) - 1, monkeypatch)
    with pytest.raises(MemoryLimitError, match="the model does not fit"):
        Model(path, threads=1)


def test_ram_is_of_the_whole_process(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = room_for(path, 1024)
    with_limit(path, 10 * free, monkeypatch)
    with Model(path, threads=1, ram=100 * MB + free) as model:
        assert model.context == 768
        assert model.memory.predicted <= 100 * MB + free
    with pytest.raises(MemoryLimitError, match=r"and ram allows \d+ MB; the largest context that fits is 1024"):
        Model(path, threads=1, context=2048, ram=100 * MB + free)
    with Model(path, threads=1, ram=1 << 60) as model:  # more than there is: what is free counts
        assert model.memory.limit == 100 * MB + 10 * free
    with pytest.raises(ValueError, match="ram must be at least 1 byte, not 0"):
        Model(path, ram=0)


def test_sessions_share_what_ram_leaves(path: Path) -> None:
    with Model(path, threads=1, context=64) as probe:
        ram = probe.memory.predicted + 64 * MB
    with Model(path, threads=1, context=4096, ram=ram) as model:
        sessions = [model.session() for _ in range(model.memory.kv_limit // model.memory.page + 1)]
        for session in sessions[:-1]:
            session.append([1])
        with pytest.raises(MemoryLimitError, match="the KV cache is full"):
            sessions[-1].append([1])


def test_a_plan_knows_no_more_positions_than_there_can_be() -> None:
    plan = MemoryPlan(64, 10, 5, 1, 1, 1, limit=None, limited_by="")
    assert plan.largest_context == MAX_CONTEXT
    assert plan.predicted == 13 + 5


_FILL = """
import itertools, json, sys
import numpy as np
from pyruntime import Model
path, context, kv_type, threads = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
with Model(path, context=context, kv_type=kv_type, threads=threads) as model:
    model.speculation.clock = itertools.count().__next__  # every step takes as long: as many guesses as there can be
    model.generate("Hello", max_tokens=4)
    repeats = model.generate([11] * 20, max_tokens=40, temperature=0, logit_bias={11: 1e3})
    assert repeats.timings["accepted_tokens"] > 30
    if model.chat_template:
        model.render([{"role": "user", "content": "hi"}])
    with model.session() as session:
        ids = np.arange(64, dtype=np.int32) + 10
        session.append(ids)
        page = session.sequence.read_page(0)
        while len(session) < context - 512:  # the pages are taken as in a real conversation, without its computation
            session.sequence.append_page(ids, page)
        if len(session) < context:
            session.append(np.arange(context - len(session)) % 1000 + 10)
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(json.dumps([model.memory.predicted, int(peak.split()[1]) * 1024]))
"""


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.skipif(sys.platform != "linux", reason="a process's peak is read from /proc")
@pytest.mark.parametrize(
    ("name", "context", "kv_type", "threads"),
    [
        ("smollm2-135m-instruct", 64, "f16", 1),
        ("smollm2-135m-instruct", 1024, "f32", 2),
        ("smollm2-135m-instruct", 2048, "q8_0", 2),
        ("smollm2-135m-instruct", 4096, "f16", 2),
        ("smollm2-135m-instruct", 8192, "q8_0", 1),
        ("qwen2.5-coder", 512, "f16", 2),
        ("qwen2.5-coder", 2048, "f32", 2),
        ("qwen2.5-coder", 4096, "q8_0", 2),
        ("gemma3-270m", 64, "f16", 1),
        ("gemma3-270m", 512, "f32", 2),
        ("gemma3-270m", 2048, "q8_0", 2),
        ("gemma3-270m", 4096, "f16", 2),
    ],
)
def test_the_predicted_peak_is_the_real_one_within_5_percent(
    real_model: Callable[[str], Path], name: str, context: int, kv_type: str, threads: int
) -> None:
    command = [sys.executable, "-c", _FILL, str(real_model(name)), str(context), kv_type, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    predicted, peak = json.loads(done.stdout)
    print(f"{predicted / 1e6:.1f} MB predicted, {peak / 1e6:.1f} MB taken: {predicted / peak:.3f}")
    assert predicted == pytest.approx(peak, rel=0.05)


def test_little_memory_shortens_the_context_and_changes_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Phi-3 chooses its rotary factors by the context that is wanted, here 512 and beyond the original 300."""
    path = longrope(original=300).write(tmp_path / "phi3.gguf")
    ids = list(range(40))
    with Model(path, threads=1) as model:
        wanted = model.logits(ids).tobytes()
        free = model.memory.fixed - model.memory.process + 3 * model.memory.page
    with_limit(path, free, monkeypatch)
    with Model(path, threads=1) as model:
        assert model.context == 192
        assert model.logits(ids).tobytes() == wanted
    with Model(path, threads=1, context=192) as model:  # asked for, it is another model
        assert model.logits(ids).tobytes() != wanted
