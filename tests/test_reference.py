"""The executor against the NumPy interpreter of the same plan, on tiny random models: every operation, every format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from block_formats import IN_256
from budgets import ACTIVATIONS_INT8, FLOAT32, KNOWN_ROUNDING, KV_FLOAT16, worst_row
from numpy.typing import NDArray
from plan_tools import int8_rounding
from tiny_models import BLOCK, WIDE, Llama, every_type, write_llama

from pyruntime import _core
from pyruntime.plan import Plan, PlanBuilder, Weights, reference
from pyruntime.plan.reference import ReferenceInterpreter, from_gguf

Logits = NDArray[np.floating[Any]]

FLOATS = ["F32", "F16", "BF16"]
QUANTIZED = list(ACTIVATIONS_INT8)
LENGTH = 150  # more than two KV pages of 64
SHAPES = {
    "grouped heads wider than d_model": Llama(),
    "tied": Llama(tied=True),
    "partial rotary": Llama(n_rot=8),
    "one key-value head": Llama(n_heads=4, n_kv_heads=1),
    "as many key-value heads": Llama(n_heads=3, n_kv_heads=3),
    "ragged head": Llama(n_heads=8, n_kv_heads=4, head_dim=20, n_rot=12),
    "one pair a head": Llama(n_heads=16, n_kv_heads=2, head_dim=2, n_rot=2),
    "deep": Llama(n_layers=5, d_ff=96),
}


def execute(
    path: Path, plan: Plan, ids: NDArray[np.int32], chunk: int = LENGTH, kv_type: str = "f32"
) -> NDArray[np.float32]:
    """The core's logits, of steps of `chunk` tokens."""
    engine = _core.Engine(
        _core.GGUF(path),
        plan.weight_names,
        plan.for_core(),
        context=512,
        max_tokens=LENGTH,
        n_threads=2 if chunk > 1 else 1,
        kv_type=kv_type,
        kv_max_bytes=1 << 26,
    )
    sequence = engine.sequence()
    rows = [engine.step([(sequence, ids[at : at + chunk], 2)]) for at in range(0, len(ids), chunk)]
    assert engine.counters()["largest_step"] == min(chunk, len(ids))
    return np.concatenate(rows)


def random_ids(n: int, n_vocab: int, seed: int = 0) -> NDArray[np.int32]:
    return np.random.default_rng(seed).integers(0, n_vocab, n).astype(np.int32)


def compare(path: Path, shape: Llama, **options: Any) -> float:
    interpreter = from_gguf(path)
    ids = random_ids(LENGTH, shape.n_vocab)
    return worst_row(execute(path, interpreter.plan, ids, **options), interpreter.run(ids))


# The core against the interpreter


@pytest.mark.parametrize("chunk", [LENGTH, 1], ids=["one step", "token by token"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_float32(shape: Llama, chunk: int, tmp_path: Path) -> None:
    assert compare(write_llama(tmp_path / "a.gguf", shape), shape, chunk=chunk) <= FLOAT32


@pytest.mark.parametrize("type_", FLOATS)
def test_float_formats(type_: str, tmp_path: Path) -> None:
    assert compare(write_llama(tmp_path / "a.gguf", Llama(), type_), Llama()) <= FLOAT32


def test_keys_and_values_in_float16(tmp_path: Path) -> None:
    error = compare(write_llama(tmp_path / "a.gguf", Llama()), Llama(), kv_type="f16")
    assert FLOAT32 < error <= KV_FLOAT16  # more than float32 alone: they really were rounded


def shape_of(type_: str) -> Llama:
    return WIDE if type_ in IN_256 else Llama()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("type_", QUANTIZED)
def test_quantized_formats(type_: str, seed: int, tmp_path: Path) -> None:
    shape = replace(shape_of(type_), tied=seed == 1)
    error = compare(write_llama(tmp_path / "a.gguf", shape, type_, seed), shape)
    assert FLOAT32 < error <= ACTIVATIONS_INT8[type_]


def test_every_type_in_one_model(tmp_path: Path) -> None:
    """q, k and v of one layer then take two passes, and the gate of one layer another operand than that of the next."""
    shape = replace(WIDE, n_layers=5)
    chosen = every_type(shape)
    assert set(chosen.values()) == set(_core.supported_types())
    assert compare(write_llama(tmp_path / "a.gguf", shape, chosen), shape) <= max(ACTIVATIONS_INT8.values())


@pytest.mark.parametrize("type_", QUANTIZED)
def test_quantized_formats_with_the_rounding_known(type_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(reference.OPERATIONS, "quantize", int8_rounding)
    shape = shape_of(type_)
    path = write_llama(tmp_path / "a.gguf", shape, type_)
    interpreter = from_gguf(path)
    errors = []
    for seed in range(24):  # short and many: one activation on the verge of an integer spoils what follows it
        ids = random_ids(6, shape.n_vocab, seed)
        errors.append(worst_row(execute(path, interpreter.plan, ids), interpreter.run(ids)))
    assert np.quantile(errors, 0.6) <= KNOWN_ROUNDING


# A plan with what no llama has: neox rotation, a window, add


def windowed(w: Weights, shape: Llama, window: int) -> Plan:
    b = PlanBuilder()
    x = b.embedding(w["token_embd"])
    rotary = b.rope_table(shape.n_rot, shape.rope_theta)
    for i in range(shape.n_layers):
        layer = w.block(i)
        q, k, v = b.linear_many(
            b.rms_norm(x, layer["attn_norm"], shape.eps), [layer["attn_q"], layer["attn_k"], layer["attn_v"]]
        )
        q = b.rope(q, rotary, shape.head_dim, mode="neox")
        k = b.rope(k, rotary, shape.head_dim, mode="neox")
        a = b.attention(q, k, v, shape.n_heads, shape.n_kv_heads, scale=0.3, window=window)
        x = b.add(x, b.linear(a, layer["attn_output"]))
    return b.finish(b.linear(b.rms_norm(b.outputs(x), w["output_norm"], shape.eps), w["output"]))


@pytest.mark.parametrize("window", [1, 20, 64, 100, 149])
@pytest.mark.parametrize("chunk", [LENGTH, 7])
def test_window_neox_add(window: int, chunk: int, tmp_path: Path) -> None:
    shape = Llama(n_rot=24)
    path = write_llama(tmp_path / "a.gguf", shape)
    file = _core.GGUF(path)
    plan = windowed(Weights.of(file), shape, window)
    ids = random_ids(LENGTH, shape.n_vocab)
    expected = ReferenceInterpreter(plan, file.dequantize).run(ids)
    assert worst_row(execute(path, plan, ids, chunk), expected) <= FLOAT32
    unlimited = ReferenceInterpreter(windowed(Weights.of(file), shape, 0), file.dequantize).run(ids)
    assert worst_row(unlimited[:window], expected[:window]) < 1e-12
    assert worst_row(unlimited[window:], expected[window:]) > 100 * FLOAT32


# What the budgets catch: one mistake at a time in the weights that the interpreter sees

Weight = NDArray[np.float32]


def swap_scales(weight: Weight) -> Weight:
    """Each row's first two blocks at each other's scale."""
    blocks = weight.reshape(len(weight), -1, BLOCK).copy()
    scale = np.abs(blocks).max(axis=-1, keepdims=True)
    blocks[:, [0, 1]] *= scale[:, [1, 0]] / scale[:, [0, 1]]
    return blocks.reshape(weight.shape)


MISTAKES: dict[str, tuple[str, Callable[[Weight], Weight]]] = {
    "a norm forgotten": ("blk.1.ffn_norm.weight", np.ones_like),
    "the last norm forgotten": ("output_norm.weight", np.ones_like),
    "scales of blocks swapped": ("blk.1.attn_v.weight", swap_scales),
    "two rows swapped": ("blk.0.ffn_down.weight", lambda w: w[[1, 0, *range(2, len(w))]]),
    "key-value heads swapped": ("blk.1.attn_k.weight", lambda w: np.roll(w, len(w) // 2, axis=0)),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_exceeds_every_budget(mistake: str, tmp_path: Path) -> None:
    """The smallest of these changes the logits by 0.37 of their standard deviation."""
    name, change = MISTAKES[mistake]
    file = _core.GGUF(write_llama(tmp_path / "a.gguf", Llama()))
    right = from_gguf(file.path)
    wrong = ReferenceInterpreter(right.plan, lambda n: change(file.dequantize(n)) if n == name else file.dequantize(n))
    ids = random_ids(LENGTH, Llama().n_vocab)
    assert worst_row(wrong.run(ids), right.run(ids)) > 2 * max(FLOAT32, KV_FLOAT16, *ACTIVATIONS_INT8.values())


# The interpreter itself


@pytest.fixture
def interpreter(tmp_path: Path) -> ReferenceInterpreter:
    return from_gguf(write_llama(tmp_path / "a.gguf", replace(Llama(), n_layers=1)))


def test_outputs_choose_rows(interpreter: ReferenceInterpreter) -> None:
    ids = [5, 0, 210, 7]
    logits = interpreter.run(ids)
    assert logits.shape == (4, 211)
    assert logits.dtype == np.float64
    np.testing.assert_allclose(interpreter.run(ids, outputs="last"), logits[3:], rtol=1e-12)
    np.testing.assert_allclose(interpreter.run(ids, outputs=[2, 0]), logits[[2, 0]], rtol=1e-12)


def test_every_value_can_be_looked_at(interpreter: ReferenceInterpreter) -> None:
    interpreter.run([1, 2, 3], outputs=[2])
    for value in interpreter.plan.values:
        rows = 3 if value.rows == "tokens" else 1
        assert interpreter.values[value.id].shape == (rows, value.width), value


def test_attention_sees_no_later_token(interpreter: ReferenceInterpreter) -> None:
    ids = [5, 0, 210, 7]
    np.testing.assert_allclose(interpreter.run(ids)[:3], interpreter.run(ids[:3]), rtol=1e-9)


def test_only_differences_of_positions_matter(interpreter: ReferenceInterpreter) -> None:
    ids = [5, 0, 210, 7]
    moved = interpreter.run(ids, positions=range(1000, 1004))
    np.testing.assert_allclose(moved, interpreter.run(ids), rtol=1e-9, atol=1e-12)
    apart = interpreter.run(ids, positions=[0, 1, 2, 9])
    assert not np.allclose(apart, interpreter.run(ids), rtol=1e-3)


def test_weights_from_a_mapping_in_float32(interpreter: ReferenceInterpreter) -> None:
    arrays = {name: interpreter._weight(name) for name in interpreter.plan.weight_names}
    single = ReferenceInterpreter(interpreter.plan, arrays, np.float32).run([1, 2, 3])
    assert single.dtype == np.float32
    assert worst_row(single, interpreter.run([1, 2, 3])) <= FLOAT32
