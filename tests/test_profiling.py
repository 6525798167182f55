"""Profiles: every step of the plan is counted, with all of the time and nothing twice; and looking changes no bit."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tiny_gguf
from block_formats import random_tensor
from families import deepseek2, gemma3, qwen3moe

from pyruntime import Model, _core, bench, profiling
from pyruntime.plan.cost import Cost
from pyruntime.profiling import Operation, Part, Profile

NO_PROFILE = {"elapsed": 0.0, "busy": [], "waiting": []}
FAMILIES = {"llama": None, "qwen3moe": qwen3moe, "gemma3": gemma3, "deepseek2": deepseek2}


def cost(model: Model) -> Cost:
    with _core.GGUF(model.path) as file:
        return Cost(file, model.plan, model.kv_type)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tiny_gguf.write(tmp_path / "tiny.gguf", "Q8_0")


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_bits(path: Path, threads: int) -> None:
    ids = bench.prompt(tiny_gguf.N_VOCAB, 600)  # two steps
    with Model(path, threads=threads) as model:
        plain, profiled = model.session(), model.session()
        expected = [plain.append(ids), plain.append(ids[:1])]
        model.engine.start_profile()
        given = [profiled.append(ids), profiled.append(ids[:1])]
        assert len(model.engine.stop_profile()["busy"]) == threads
        assert [logits.tobytes() for logits in given] == [logits.tobytes() for logits in expected]


def test_off_by_default_and_once_stopped(path: Path) -> None:
    with Model(path, threads=2) as model, model.session() as session:
        session.append([1, 2, 3])
        assert model.engine.stop_profile() == NO_PROFILE
        model.engine.start_profile()
        session.append([1, 2, 3])
        assert model.engine.stop_profile()["elapsed"] > 0
        session.append([1, 2, 3])
        assert model.engine.stop_profile() == NO_PROFILE


@pytest.mark.parametrize("threads", [1, 2])
def test_the_core_counts_all_of_the_time_once(path: Path, threads: int) -> None:
    ids = bench.prompt(tiny_gguf.N_VOCAB, 512)
    with Model(path, threads=threads) as model:
        n_steps = len(model.plan.steps) + 1  # and the check of the logits
        model.engine.start_profile()
        start = time.perf_counter()
        for _ in range(10):
            with model.session() as session:
                session.append(ids)
        elapsed = time.perf_counter() - start
        found = model.engine.stop_profile()
    assert 0 < found["elapsed"] <= elapsed
    for busy, waiting in zip(found["busy"], found["waiting"], strict=True):
        assert len(busy) == len(waiting) == n_steps
        assert all(seconds > 0 for seconds in busy)
        assert sum(busy) + sum(waiting) <= found["elapsed"]
        barriers = [i for i, seconds in enumerate(waiting) if seconds > 0]
        assert barriers == [] if threads == 1 else 5 < len(barriers) < n_steps
    # The calling thread begins at once; another one begins when the system gives it a core.
    assert sum(found["busy"][0]) + sum(found["waiting"][0]) >= 0.5 * found["elapsed"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_step_of_the_plan_is_in_a_kind(family: str, path: Path, tmp_path: Path) -> None:
    of = FAMILIES[family]
    if of is not None:
        path = next(iter(of.CASES.values())).write(tmp_path / "m.gguf")
    with Model(path, threads=1) as model, model.session() as session:
        model.engine.start_profile()
        session.append([5, 6, 7])
        found = model.engine.stop_profile()
        costs = cost(model)
        work = [step.products for step in costs.steps]
        operations = profiling._operations(profiling._kinds(model, costs), work, found)
        in_plan = Counter(step.op for step in model.plan.steps)
    counted: Counter[str] = Counter()
    for operation in operations:
        name = "linear" if operation.name == "head" else operation.name.split()[0]
        counted[name] += operation.steps
        assert operation.seconds > 0
        assert bool(operation.weights) == bool(operation.work)
    assert counted == in_plan + Counter({"check": 1})
    assert sum(operation.work for operation in operations) == sum(work)
    assert [o.seconds for o in operations] == sorted((o.seconds for o in operations), reverse=True)


def test_kinds_of_products_and_what_they_read(tmp_path: Path) -> None:
    """A layer that is quantized otherwise is a row of its own, as are tensors of two types in one pass."""
    rng = np.random.default_rng(1)
    g = tiny_gguf
    kv, d = g.SHAPES["blk.0.attn_v.weight"]
    other = {"blk.0.attn_v.weight": ("Q5_0", random_tensor("Q5_0", kv, d, 0.1, rng))}
    with Model(g.write(tmp_path / "m.gguf", "Q8_0", tensors=other), threads=2) as model:
        found = profiling.profile(model, cost(model), bench.prompt(g.N_VOCAB, 20), 3)
        steps = model.engine.counters()["steps"]
    assert steps == 1 + 3
    sizes = {name: int(np.prod(shape)) for name, shape in g.SHAPES.items()}

    def of(names: str, layers: int) -> int:
        return layers * sum(sizes[f"blk.0.{name}.weight"] for name in names.split())

    layers = g.N_LAYERS
    expected = {
        ("linear attn_q,k,v", "Q8_0, Q5_0"): of("attn_q attn_k attn_v", 1),
        ("linear attn_q,k,v", "Q8_0"): of("attn_q attn_k attn_v", layers - 1),
        ("linear attn_output", "Q8_0"): of("attn_output", layers),
        ("gated_ffn ffn_gate,up", "Q8_0"): of("ffn_gate ffn_up", layers),
        ("linear ffn_down", "Q8_0"): of("ffn_down", layers),
    }
    reading = {(o.name, o.weights): o.work for o in found.prefill.operations if o.work}
    head = ("head", "Q8_0"), 2 * sizes["output.weight"]
    assert reading == {kind: 2 * 20 * n for kind, n in expected.items()} | dict([head])
    writing = {(o.name, o.weights): o.work for o in found.generate.operations if o.work}
    assert writing.keys() == reading.keys()
    assert writing["linear ffn_down", "Q8_0"] == pytest.approx(3 * of("ffn_down", layers) * 34 / 32, rel=0.1)


def test_a_part_is_the_sum_of_what_it_names(path: Path) -> None:
    with Model(path, threads=2) as model:
        found = profiling.profile(model, cost(model), bench.prompt(tiny_gguf.N_VOCAB, 200), 20)
        assert model.engine.stop_profile() == NO_PROFILE
        assert model.engine.counters()["pages"] == 0
    assert (found.prefill.tokens, found.generate.tokens) == (200, 20)
    for part in (found.prefill, found.generate):
        beside = (part.waiting, part.starting, part.sampling, part.python)
        assert all(seconds >= 0 for seconds in beside)
        assert sum(o.seconds for o in part.operations) + sum(beside) == pytest.approx(part.seconds)


def test_a_profile_that_fails_is_switched_off(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with Model(path, threads=1) as model:
        monkeypatch.setattr("pyruntime.generate.Job.take", fail)
        with pytest.raises(KeyboardInterrupt):
            profiling.profile(model, cost(model), bench.prompt(tiny_gguf.N_VOCAB, 20), 3)
        assert model.engine.stop_profile() == NO_PROFILE


def test_the_faster_of_each_part() -> None:
    def part(seconds: float) -> Part:
        return Part(1, seconds, [Operation("head", "Q8_0", 1, seconds, 0.0, 10)], 0.0, 0.0, 0.0)

    both = Profile(part(1.0), part(4.0)).or_faster(Profile(part(2.0), part(3.0)))
    assert (both.prefill.seconds, both.generate.seconds) == (1.0, 3.0)
    assert both.generate.operations[0].rate == pytest.approx(10 / 3)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.model
def test_pythons_share_of_a_step(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a token on one thread, in processor time. 2 to 3 % where others use the caches, nearly all of it for memory that
    the weights pushed out: with everything in the caches it is 3 us."""
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    with Model(model_path, threads=1) as model:
        costs, ids = cost(model), bench.prompt(model.n_vocab, 64)
        parts = [profiling.profile(model, costs, ids, 64).generate for _ in range(3)]
    best = min(parts, key=lambda part: part.python / part.seconds)
    print(f"Python: {1e6 * best.python / 64:.0f} us of {1e3 * best.seconds / 64:.2f} ms a token")
    assert best.python / best.seconds < 0.05
