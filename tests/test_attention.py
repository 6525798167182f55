"""Attention by itself: q, k and v are rows of embeddings and the attention's output is the model's, so that nothing else
rounds. Against the NumPy interpreter in float64, and the same bits however it is computed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from budgets import ATTENTION_FLOAT32, ATTENTION_KV, worst_row
from numpy.typing import NDArray
from tiny_models import write

from pyruntime import _core
from pyruntime.errors import PyruntimeError
from pyruntime.plan import Plan, PlanBuilder, Weights
from pyruntime.plan.reference import ReferenceInterpreter
from pyruntime.plan.values import Cache

Logits = NDArray[np.float32]
Ids = NDArray[np.int32]

LENGTH = 300  # four KV pages and a part
CHUNKS = (1, 7, 64, LENGTH)
KV_TYPES = tuple(ATTENTION_KV)


@dataclass(frozen=True)
class Shape:
    n_heads: int = 6
    n_kv_heads: int = 2
    head_dim: int = 40
    value_dim: int = 40
    window: int = 0
    softcap: float = 0.0
    alibi: float = 0.0
    sinks: bool = False
    latent: bool = False

    @property
    def n_vocab(self) -> int:
        return self.n_heads * self.value_dim  # the output's width

    def weights(self, seed: int = 0) -> dict[str, NDArray[np.float32]]:
        rng = np.random.default_rng(seed)
        widths = {
            "q": self.n_heads * self.head_dim,
            "k": self.n_kv_heads * self.head_dim,
            "v": self.n_kv_heads * self.value_dim,  # no part of a latent cache
        }
        # Each head at a size of its own, so that a mixed-up one shows.
        sizes = 2.0 ** rng.uniform(-0.5, 0.5, 64)
        tables = {
            f"{name}.weight": (rng.standard_normal((self.n_vocab, width)) * np.resize(sizes, width)).astype(np.float32)
            for name, width in widths.items()
        }
        return tables | {"sinks.weight": rng.uniform(-1, 6, self.n_heads).astype(np.float32)}


SHAPES = {
    "grouped heads": Shape(),
    "wide values": Shape(head_dim=24, value_dim=70),
    "narrow values": Shape(head_dim=192, value_dim=128, n_heads=4, n_kv_heads=4),
    "ragged": Shape(n_heads=9, n_kv_heads=3, head_dim=21, value_dim=33),
    "one key-value head for many": Shape(n_heads=32, n_kv_heads=1, head_dim=16, value_dim=8),
    "large heads": Shape(n_heads=2, n_kv_heads=1, head_dim=576, value_dim=512),
    "window": Shape(window=100),
    "window of one": Shape(window=1),
    "softcap": Shape(softcap=3.0),
    "alibi": Shape(alibi=8.0, n_heads=8),
    "alibi, no power of two": Shape(alibi=8.0, n_heads=12, n_kv_heads=4),
    "sinks": Shape(sinks=True),
    "sinks and a window": Shape(sinks=True, window=70),
    "everything": Shape(
        n_heads=6, n_kv_heads=3, head_dim=36, value_dim=52, window=130, softcap=4.0, alibi=4.0, sinks=True
    ),
    "latent": Shape(n_heads=16, n_kv_heads=1, head_dim=96, value_dim=64, latent=True),
    "latent, ragged": Shape(n_heads=5, n_kv_heads=1, head_dim=77, value_dim=41, latent=True),
    "latent, all of it": Shape(n_heads=3, n_kv_heads=1, head_dim=80, value_dim=80, latent=True),
    "latent, DeepSeek's": Shape(n_heads=3, n_kv_heads=1, head_dim=576, value_dim=512, latent=True),
    "latent, many heads": Shape(n_heads=128, n_kv_heads=1, head_dim=40, value_dim=8, latent=True),
}
EXTREMES = {name: SHAPES[name] for name in ("ragged", "everything", "latent", "latent, ragged")}


@dataclass
class Case:
    file: _core.GGUF
    plan: Plan

    def engine(
        self, kv_type: str, isa: str = "", threads: int = 2, kv_max_bytes: int = 1 << 28, context: int = 512
    ) -> _core.Engine:
        return _core.Engine(
            self.file,
            self.plan.weight_names,
            self.plan.for_core(),
            context=context,
            max_tokens=LENGTH,
            n_threads=threads,
            kv_type=kv_type,
            kv_max_bytes=kv_max_bytes,
            isa=isa,
        )

    def expected(self, ids: Ids) -> NDArray[np.float64]:
        return ReferenceInterpreter(self.plan, self.file.dequantize).run(ids)


def plan_of(w: Weights, shape: Shape) -> Plan:
    b = PlanBuilder()
    q, k, v = (b.embedding(w[name]) for name in "qkv")
    scale = 1.5 / shape.head_dim**0.5
    if shape.latent:
        return b.finish(b.outputs(b.latent_attention(q, k, shape.n_heads, shape.value_dim, scale)))
    sinks = w["sinks"] if shape.sinks else None
    y = b.attention(
        q, k, v, shape.n_heads, shape.n_kv_heads, scale,
        window=shape.window, softcap=shape.softcap, alibi=shape.alibi, sinks=sinks,
    )  # fmt: skip
    return b.finish(b.outputs(y))


def make(folder: Path, shape: Shape, seed: int = 0) -> Case:
    file = _core.GGUF(write(folder / "a.gguf", shape.weights(seed), {}))
    return Case(file, plan_of(Weights.of(file), shape))


def random_ids(shape: Shape, n: int = LENGTH, seed: int = 0) -> Ids:
    return np.random.default_rng(seed).integers(0, shape.n_vocab, n).astype(np.int32)


def run(engine: _core.Engine, sequence: _core.Sequence, ids: Ids, chunk: int = LENGTH) -> Logits:
    return np.concatenate([engine.step([(sequence, ids[at : at + chunk], 2)]) for at in range(0, len(ids), chunk)])


def assert_same(got: Logits, expected: Logits, what: Any) -> None:
    assert got.tobytes() == expected.tobytes(), what


@pytest.mark.parametrize("kv_type", KV_TYPES)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_it_is_the_interpreters(shape: Shape, kv_type: str, tmp_path: Path) -> None:
    case, ids = make(tmp_path, shape), random_ids(shape)
    engine = case.engine(kv_type)
    error = worst_row(run(engine, engine.sequence(), ids), case.expected(ids))
    print(f"{kv_type} {error:.2e}")
    assert error <= ATTENTION_KV[kv_type]
    finer = {"f32": 0, "f16": ATTENTION_FLOAT32, "q8_0": ATTENTION_KV["f16"]}
    assert error >= finer[kv_type]  # they really were rounded


@pytest.mark.parametrize("kv_type", KV_TYPES)
@pytest.mark.parametrize("shape", EXTREMES.values(), ids=EXTREMES.keys())
def test_every_way_has_the_same_bits(shape: Shape, kv_type: str, tmp_path: Path) -> None:
    case, ids = make(tmp_path, shape), random_ids(shape)
    scalar = case.engine(kv_type, "scalar", threads=1)
    expected = run(scalar, scalar.sequence(), ids)
    for isa in _core.available_isas():
        for threads in (1, 2, 3):
            engine = case.engine(kv_type, isa, threads)
            assert (engine.isa, engine.n_threads) == (isa, threads)
            for chunk in CHUNKS:
                assert_same(run(engine, engine.sequence(), ids, chunk), expected, (isa, threads, chunk))
            assert min(engine.items_by_thread()) > 0


@pytest.mark.parametrize("kv_type", KV_TYPES)
@pytest.mark.parametrize("shape", EXTREMES.values(), ids=EXTREMES.keys())
def test_forked_and_rewound_prefixes(shape: Shape, kv_type: str, tmp_path: Path) -> None:
    """Whichever of the two writes first, and where the border lies."""
    case, ids, other = make(tmp_path, shape), random_ids(shape), random_ids(shape, 70, seed=1)
    engine = case.engine(kv_type)
    cold = run(engine, engine.sequence(), ids)
    for at in (1, 63, 64, 65, 128, 200):
        branched = run(engine, engine.sequence(), np.concatenate([ids[:at], other]))[at:]
        parent = engine.sequence()
        run(engine, parent, ids[:at])
        child = parent.fork()
        assert_same(run(engine, child, other), branched, at)
        assert_same(run(engine, parent, ids[at:]), cold[at:], at)
        parent.rewind(at)
        child.rewind(at)
        assert_same(run(engine, parent, other, 7), branched, at)
        assert_same(run(engine, child, ids[at:], 7), cold[at:], at)


@pytest.mark.parametrize("window", [0, 300])
@pytest.mark.parametrize("n_kv_heads", [1, 2, 3, 4])
def test_threads_share_the_pages_of_a_few_heads(n_kv_heads: int, window: int, tmp_path: Path) -> None:
    """The last position of the context too, and of several sequences in a step."""
    shape = Shape(n_heads=2 * n_kv_heads, n_kv_heads=n_kv_heads, head_dim=24, value_dim=40, window=window)
    case, ids = make(tmp_path, shape), random_ids(shape, 1000)
    one = case.engine("f16", threads=1, context=len(ids))
    expected = run(one, one.sequence(), ids)
    n_spans = 2 if window else 4  # of 256 positions
    for threads in (2, 3, 4):
        engine = case.engine("f16", threads=threads, context=len(ids))
        sequences = [engine.sequence() for _ in range(3)]
        for n, sequence in enumerate(sequences, start=1):
            run(engine, sequence, ids[:-n])
        first = items_of_a_step(engine, [(engine.sequence(), ids[:1], 2)])
        last = items_of_a_step(engine, [(sequences[0], ids[-1:], 2)])
        few = n_kv_heads < 2 * threads
        assert last - first == (n_kv_heads * (n_spans - 1) if few else 0), threads
        together = engine.step(
            [(sequence, ids[-n : len(ids) - n + 1], 2) for n, sequence in enumerate(sequences[1:], 2)]
        )
        assert_same(together, expected[[-2, -3]], threads)
        sequences[0].rewind(980)
        assert_same(run(engine, sequences[0], ids[980:], 1), expected[980:], threads)


def items_of_a_step(engine: _core.Engine, pieces: list[tuple[_core.Sequence, Ids, int]]) -> int:
    before = sum(engine.items_by_thread())
    engine.step(pieces)
    return sum(engine.items_by_thread()) - before


def test_a_batch_changes_nothing(tmp_path: Path) -> None:
    shape = SHAPES["everything"]
    case = make(tmp_path, shape)
    engine = case.engine("f16")
    texts = [random_ids(shape, n, seed=n) for n in (1, 64, 65, 100)]
    alone = [run(engine, engine.sequence(), text) for text in texts]
    together = engine.step([(engine.sequence(), text, 2) for text in texts])
    assert_same(together, np.concatenate(alone), "batch")


# What the budgets catch


RIGHT = Shape(softcap=4.0, alibi=4.0, sinks=True, window=6)
MISTAKES = {
    "the softcap": replace(RIGHT, softcap=0.0),
    "alibi": replace(RIGHT, alibi=0.0),
    "alibi's slopes": replace(RIGHT, alibi=6.0),
    "the sinks": replace(RIGHT, sinks=False),
    "the window, by one": replace(RIGHT, window=5),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_exceeds_every_budget(mistake: str, tmp_path: Path) -> None:
    case, ids = make(tmp_path, RIGHT), random_ids(RIGHT)
    wrong = Case(case.file, plan_of(Weights.of(case.file), MISTAKES[mistake]))
    assert worst_row(wrong.expected(ids), case.expected(ids)) > 2 * max(ATTENTION_KV.values())


# Its attributes


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"softcap": -1.0}, "softcap is out of range"),
        ({"softcap": float("inf")}, "softcap is out of range"),
        ({"alibi": -8.0}, "alibi is out of range"),
        ({"alibi": float("nan")}, "alibi is out of range"),
        ({"n_heads": 5.0}, "n_heads is not a multiple of n_kv_heads"),
        ({"n_heads": 8.0}, "width of q"),
        ({"sinks": 1.0}, "wrong number of operands"),
        ({"cache": 1.0}, "cache is out of range"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, float], said: str, tmp_path: Path) -> None:
    case = make(tmp_path, Shape())
    for step in case.plan.steps:
        if step.op == "attention":
            step.attributes.update(changed)
    with pytest.raises(PyruntimeError, match=f"attention .*{said}"):
        case.engine("f16")


@pytest.mark.parametrize("latent", [False, True])
def test_a_cache_of_the_other_kind_is_refused(latent: bool, tmp_path: Path) -> None:
    shape = Shape(n_kv_heads=1, latent=latent)
    case = make(tmp_path, shape)
    case.plan.caches[0] = case.plan.caches[0]._replace(latent=not latent)
    with pytest.raises(PyruntimeError, match="a cache of another kind"):
        case.engine("f16")


@pytest.mark.parametrize("cache", [Cache(2, 40, 40, latent=True), Cache(1, 40, 41, latent=True)])
def test_a_latent_cache_that_is_none_is_refused(cache: Cache, tmp_path: Path) -> None:
    case = make(tmp_path, Shape(n_kv_heads=1, latent=True))
    case.plan.caches[0] = cache
    with pytest.raises(PyruntimeError, match="the latent cache's shape"):
        case.engine("f16")


@pytest.mark.parametrize("cache", [(2, 40, 41, False), (2, 41, 40, False), (0, 40, 40, False), (2, 40, 1 << 17, False)])
def test_a_cache_that_does_not_fit_is_refused(cache: tuple[int, int, int, bool], tmp_path: Path) -> None:
    case = make(tmp_path, Shape())
    plan = case.plan.for_core() | {"caches": [cache]}
    with pytest.raises(PyruntimeError, match=r"plan: .*(shape of|a cache of)"):
        _core.Engine(
            case.file,
            case.plan.weight_names,
            plan,
            context=64,
            max_tokens=8,
            n_threads=1,
            kv_type="f16",
            kv_max_bytes=0,
        )


def test_an_unknown_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no type of keys and values named 'q9'"):
        make(tmp_path, Shape()).engine("q9")
