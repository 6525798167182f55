"""What a step reads and multiplies, against sums over the tensors of whole files and what the core has loaded."""

from __future__ import annotations

from math import prod
from pathlib import Path

import pytest
import tiny_gguf
from families import deepseek2, gemma3, qwen3moe
from families.case import N_HEADS, N_VOCAB, Case
from families.experts import N_EXPERTS, N_USED

from pyruntime import Model, _core
from pyruntime.model import KVType
from pyruntime.plan.cost import Cost


def cost(model: Model) -> Cost:
    with _core.GGUF(model.path) as file:
        return Cost(file, model.plan, model.kv_type)


def products(case: Case) -> int:
    """Of a token in all layers: each matrix once, of experts the share that is used."""
    layers = [name for name in case.matrices if name.startswith("blk.")]
    return sum(prod(case.shapes[name]) * (N_USED if "_exps" in name else N_EXPERTS) // N_EXPERTS for name in layers)


def test_a_llama(tmp_path: Path) -> None:
    g = tiny_gguf
    model = Model(g.write(tmp_path / "m.gguf", "Q8_0"))
    matrices = sum(prod(shape) for name, shape in g.SHAPES.items() if len(shape) == 2 and "blk" in name)
    head = g.N_VOCAB * g.D_MODEL
    attention = g.N_LAYERS * g.N_HEADS * 2 * g.HEAD_DIM
    for n in (1, 10, 200):
        assert cost(model).operations(n) == 2 * (n * matrices + head + attention * n * (n + 1) // 2)
    table = _core.loaded_bytes(_core.GGUF(model.path), ["token_embd.weight"], [])
    weights = model.engine.counters()["weight_bytes"] - table + table // g.N_VOCAB
    assert cost(model).bytes_of_token(63) == weights + model.engine.page_bytes
    assert cost(model).bytes_of_token(127) == weights + 2 * model.engine.page_bytes


def test_a_tied_head_is_read_whole_and_its_row_once_more(tmp_path: Path) -> None:
    untied = Model(tiny_gguf.write(tmp_path / "a.gguf", "F32"))
    tied = Model(tiny_gguf.write(tmp_path / "b.gguf", "F32", tensors={"output.weight": None}))
    assert cost(tied).bytes_of_token(0) == cost(untied).bytes_of_token(0)
    assert cost(tied).operations(7) == cost(untied).operations(7)


def test_of_experts_the_chosen_ones(tmp_path: Path) -> None:
    case = qwen3moe.CASES["plain"]
    model = Model(case.write(tmp_path / "m.gguf"))
    head = prod(case.shapes["output.weight"])
    attention = 2 * N_HEADS * 2 * 24
    assert cost(model).operations(5) == 2 * (5 * products(case) + head + attention * 15)
    left_out = {name: shape for name, shape in case.shapes.items() if "_exps" in name}
    with _core.GGUF(model.path) as file:
        unused = _core.loaded_bytes(file, list(left_out), []) * (N_EXPERTS - N_USED) // N_EXPERTS
        table = _core.loaded_bytes(file, ["token_embd.weight"], [])
    everything = model.engine.counters()["weight_bytes"] + model.engine.page_bytes
    assert cost(model).bytes_of_token(63) == everything - unused - table + table // N_VOCAB


def test_windows_are_where_a_token_stops_looking_back(tmp_path: Path) -> None:
    case = gemma3.CASES["as most files are"]  # the sixth of seven layers sees everything
    model = Model(case.write(tmp_path / "m.gguf"))
    head = N_VOCAB * case.shapes["token_embd.weight"][1]
    of_a_layer = N_HEADS * 2 * gemma3.HEAD_DIM
    seen = [6 * min(p + 1, gemma3.WINDOW) + p + 1 for p in range(100)]
    assert cost(model).operations(100) == 2 * (100 * products(case) + head + of_a_layer * sum(seen))
    kv = [cost(model).bytes_of_token(p) for p in (0, 19, 20, 99)]
    a_position = model.engine.page_bytes // 64 // gemma3.N_LAYERS
    assert [n - kv[0] for n in kv] == [a_position * (seen[p] - 7) for p in (0, 19, 20, 99)]


def test_a_latent_cache_is_one_row_for_all_heads(tmp_path: Path) -> None:
    case = deepseek2.CASES["v3"]
    model = Model(case.write(tmp_path / "m.gguf"))
    width = deepseek2.RANK + deepseek2.TURNING
    head = prod(case.shapes["output.weight"])
    attention = 2 * N_HEADS * (width + deepseek2.RANK)
    assert cost(model).operations(3) == 2 * (3 * products(case) + head + attention * 6)
    assert cost(model).bytes_of_token(1) - cost(model).bytes_of_token(0) == 2 * width * 2


@pytest.mark.parametrize(("kv_type", "bytes_of_f32"), [("f16", 0.5), ("f32", 1), ("q8_0", 34 / 128)])
def test_the_type_of_keys_and_values(kv_type: KVType, bytes_of_f32: float, tmp_path: Path) -> None:
    path = gemma3.CASES["as most files are"].write(tmp_path / "m.gguf")  # heads are whole blocks of 32
    grown = [
        cost(model).bytes_of_token(9) - cost(model).bytes_of_token(0)
        for model in (Model(path, kv_type=kv_type), Model(path, kv_type="f32"))
    ]
    assert grown[0] == pytest.approx(grown[1] * bytes_of_f32, abs=1)
