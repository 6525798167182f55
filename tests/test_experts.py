"""Mixture of experts in the core, against the NumPy interpreter, and against itself: the same bits whoever shares an expert."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from budgets import ACTIVATIONS_INT8, FLOAT32, worst_row
from numpy.typing import NDArray

from pyruntime import Model, _core, arch
from pyruntime.arch.hparams import HParams
from pyruntime.errors import GGUFError
from pyruntime.plan import Plan, PlanBuilder, Routing, Weight, Weights
from pyruntime.plan.reference import from_gguf

ISAS = _core.available_isas()
N_VOCAB, D_MODEL, D_FF, N_EXPERTS = 300, 96, 160, 12
IDS = np.random.default_rng(3).integers(0, N_VOCAB, 150, np.int32)
SHAPES = {
    "token_embd.weight": (N_VOCAB, D_MODEL),
    "router.weight": (N_EXPERTS, D_MODEL),
    "router_bias.weight": (N_EXPERTS,),
    "gate.weight": (N_EXPERTS, D_FF, D_MODEL),
    "up.weight": (N_EXPERTS, D_FF, D_MODEL),
    "down.weight": (N_EXPERTS, 77, D_FF),  # 77: not whole groups of 16
    "gate.bias": (N_EXPERTS, D_FF),
    "up.bias": (N_EXPERTS, D_FF),
    "down.bias": (N_EXPERTS, 77),
    "output.weight": (N_VOCAB, 77),
}
FLOATS = {"token_embd.weight", "router.weight", "gate.bias", "up.bias", "down.bias", "output.weight"}

ROUTINGS = {
    "softmax": Routing(3),
    "normalized": Routing(2, normalize=True, scale=1.5),
    "sigmoid": Routing(4, "sigmoid", normalize=True, scale=2.5),
    "chosen": Routing(3, "softmax_of_chosen"),
    "one": Routing(1, "sigmoid"),
    "all": Routing(N_EXPERTS),
    "groups": Routing(3, "sigmoid", n_groups=4, n_groups_used=2, group_top=2, normalize=True),
    "best-of-groups": Routing(2, n_groups=3, n_groups_used=1),
}


def build(routing: Routing, biased: bool = False, activation: str = "silu") -> Callable[..., Plan]:
    def builder(b: PlanBuilder, hp: HParams, w: Weights) -> Plan:
        x = b.embedding(w["token_embd"])
        routes = b.route(b.linear(x, w["router"]), routing, w["router_bias"] if biased else None)
        biases = (w.bias("gate"), w.bias("up")) if biased else None
        hidden = b.experts_gated(x, routes, w["gate"], w["up"], activation, biases)
        y = b.combine(b.experts_linear(hidden, routes, w["down"], w.bias("down") if biased else None), routes)
        b.leave_out(*(w.bias(name) for name in ("gate", "up", "down")), w["router_bias"])
        return b.finish(b.linear(b.outputs(y), w["output"]))

    return builder


@pytest.fixture
def registered() -> Iterator[Callable[..., None]]:
    yield lambda *args, **options: arch.register_architecture("tiny-experts", build(*args, **options))
    arch._registered.pop("tiny-experts", None)


def weights(n_experts: int = N_EXPERTS) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(1)
    made = {}
    for name, shape in SHAPES.items():
        dims = tuple(n_experts if n == N_EXPERTS else n for n in shape)
        scale = 1.0 if len(dims) < 2 or "bias" in name or "embd" in name else dims[-1] ** -0.5
        made[name] = (rng.standard_normal(dims) * scale * 2.0 ** rng.uniform(-1, 1, (*dims[:-1], 1))).astype(np.float32)
    return made


def write(path: Path, weight_type: str, n_experts: int = N_EXPERTS) -> Path:
    types = {name: "F32" if name in FLOATS else weight_type for name in SHAPES}
    entries = {"block_count": 1, "embedding_length": D_MODEL, "attention.head_count": 1}
    return tiny_models.write(path, weights(n_experts), entries, types, architecture="tiny-experts")


@pytest.mark.parametrize("weight_type", ["F32", "F16", "Q8_0", "Q4_1"])
@pytest.mark.parametrize("name", ROUTINGS)
def test_against_the_interpreter(tmp_path: Path, registered: Callable[..., None], name: str, weight_type: str) -> None:
    registered(ROUTINGS[name])
    path = write(tmp_path / "a.gguf", weight_type)
    expected = from_gguf(path).run(IDS)
    with Model(path, threads=2) as model:
        assert worst_row(model.logits(IDS), expected) < ACTIVATIONS_INT8.get(weight_type, FLOAT32)


@pytest.mark.parametrize("activation", ["silu", "gelu", "swiglu_oai"])
def test_biases_and_activations(tmp_path: Path, registered: Callable[..., None], activation: str) -> None:
    registered(ROUTINGS["chosen"], biased=True, activation=activation)
    path = write(tmp_path / "a.gguf", "F32")
    with Model(path, threads=2) as model:
        assert worst_row(model.logits(IDS), from_gguf(path).run(IDS)) < FLOAT32


@pytest.mark.parametrize("weight_type", ["F16", "Q8_0", "Q4_1"])
@pytest.mark.parametrize("name", ["groups", "normalized", "chosen"])
def test_the_same_bits(
    tmp_path: Path, registered: Callable[..., None], name: str, weight_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On every instruction set, with any number of threads, however many tokens share an expert."""
    registered(ROUTINGS[name], biased=True)
    path = write(tmp_path / "a.gguf", weight_type)
    monkeypatch.setenv("PYRUNTIME_ISA", "scalar")
    ids = IDS[:60]
    with Model(path, threads=1) as model:
        expected = model.logits(ids)
    for isa in ISAS:
        monkeypatch.setenv("PYRUNTIME_ISA", isa)
        for threads in (1, 2, 3):
            with Model(path, threads=threads) as model:
                assert (model.isa, model.threads) == (isa, threads)
                for chunk in (1, 7, 60):
                    with model.session() as session:
                        parts = [session.logits(ids[at : at + chunk]) for at in range(0, len(ids), chunk)]
                    assert np.concatenate(parts).tobytes() == expected.tobytes(), (isa, threads, chunk)


def test_more_tokens_of_one_expert_than_are_gathered_at_once(tmp_path: Path, registered: Callable[..., None]) -> None:
    registered(ROUTINGS["all"])
    path = write(tmp_path / "a.gguf", "Q8_0")
    ids = np.resize(IDS, 400)
    with Model(path, threads=2) as model, model.session() as session:
        together = model.logits(ids)
        alone = np.concatenate([session.logits(ids[i : i + 1]) for i in range(len(ids))])
        assert together.tobytes() == alone.tobytes()


def test_only_the_chosen_experts_are_computed(tmp_path: Path, registered: Callable[..., None]) -> None:
    """Items of a step are blocks of weights: as many for 12 experts as for 48 of the same size."""
    registered(Routing(3))
    items = []
    for n_experts in (N_EXPERTS, 4 * N_EXPERTS):
        path = write(tmp_path / f"{n_experts}.gguf", "Q4_1", n_experts)
        with Model(path, threads=1) as model, model.session() as session:
            session.append(IDS[:1])
            items.append(sum(model.engine.items_by_thread()))
    router = 4 * N_EXPERTS // 16 - 1  # groups of the router's own rows
    assert items[1] == items[0] + router


def test_ties_go_to_the_lower_id(tmp_path: Path, registered: Callable[..., None]) -> None:
    """A router of zeros: experts 0, 1 and 2, with equal weights."""
    registered(Routing(3))
    made = weights() | {"router.weight": np.zeros((N_EXPERTS, D_MODEL), np.float32)}
    entries = {"block_count": 1, "embedding_length": D_MODEL, "attention.head_count": 1}
    path = tiny_models.write(tmp_path / "a.gguf", made, entries, "F32", architecture="tiny-experts")
    silu = lambda x: x / (1 + np.exp(-x))  # noqa: E731
    x = made["token_embd.weight"][IDS].astype(np.float64)
    hidden = (silu(x @ made["gate.weight"][e].T) * (x @ made["up.weight"][e].T) for e in range(3))
    y = sum(h @ made["down.weight"][e].T / N_EXPERTS for e, h in enumerate(hidden))
    with Model(path, threads=2) as model:
        assert worst_row(model.logits(IDS), y @ made["output.weight"].T) < FLOAT32


REFUSED: dict[str, tuple[Routing, str]] = {
    "more-than-there-are": (Routing(13), "13 of 12 experts are used"),
    "none": (Routing(0), "0 of 12"),
    "groups": (Routing(2, n_groups=5), "of 5 groups of 12"),
    "groups-used": (Routing(2, n_groups=4, n_groups_used=5), "5 of 4 groups"),
    "group-too-small": (Routing(4, n_groups=4, n_groups_used=1), "4 of 12 experts"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_routing_that_does_not_fit(case: str) -> None:
    routing, message = REFUSED[case]
    b = PlanBuilder()
    with pytest.raises(GGUFError, match=message):
        b.route(b.linear(b.embedding(Weight("t", "F32", (10, 8))), Weight("r", "F32", (12, 8))), routing)
