"""The plan: a golden dump, what the builder refuses, and metadata that is missing or wrong.

After a change that is meant: `python tests/test_plan.py > tests/data/plan_tiny_llama.txt`, and read the difference.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import Llama, random_weights, write, write_llama

from pyruntime import Model, arch
from pyruntime.arch import llama
from pyruntime.arch.hparams import HParams
from pyruntime.errors import GGUFError, UnsupportedError
from pyruntime.plan import Cache, Plan, PlanBuilder, RopeScaling, Routing, Value, Weight, Weights

GOLDEN = Path(__file__).parent / "data" / "plan_tiny_llama.txt"

SHAPE = Llama(tied=True)


def tensors(shape: Llama, type_: str = "F32", **types: str) -> dict[str, Weight]:
    """As a file would have them, matrices of one type but for those of `types`, by the last part of their name."""
    return {
        name: Weight(name, types.get(name.split(".")[-2], type_) if len(dims) == 2 else "F32", dims)
        for name, dims in shape.shapes.items()
    }


def build(shape: Llama, weights: dict[str, Weight], **metadata: Any) -> Plan:
    """The plan of a llama; `metadata` as for `write_llama`."""
    return llama.build(PlanBuilder(), hparams(shape, **metadata), Weights(weights, "tiny.gguf"))


def hparams(shape: Llama, **metadata: Any) -> HParams:
    entries = shape.metadata | {key.replace("__", "."): value for key, value in metadata.items()}
    return HParams({f"llama.{k}": v for k, v in entries.items() if v is not None}, "llama", "tiny.gguf")


def golden_dump() -> str:
    """The plan of a tiny llama, one matrix of it in float16, without line numbers: they change with every comment."""
    weights = tensors(SHAPE, "Q4_0", token_embd="Q8_0")
    weights["blk.1.attn_v.weight"] = tensors(SHAPE, "F16")["blk.1.attn_v.weight"]
    return re.sub(r"(\.py):\d+$", r"\1", build(SHAPE, weights).dump(), flags=re.MULTILINE) + "\n"


# What is built


def test_golden_dump() -> None:
    assert golden_dump() == GOLDEN.read_text(encoding="utf-8"), __doc__


def test_every_step_says_which_line_made_it() -> None:
    folder = Path(arch.__file__).parent
    for step in build(SHAPE, tensors(SHAPE)).steps:
        file, line = step.where.split(":")
        assert "b." in (folder / file).read_text(encoding="utf-8").splitlines()[int(line) - 1], step


def test_one_quantized_operand_serves_all_products_of_a_value() -> None:
    plan = build(SHAPE, tensors(SHAPE, "Q4_0"))
    quantized = [step.inputs[0] for step in plan.steps if step.op == "quantize"]
    assert len(quantized) == len(set(quantized)) == 4 * SHAPE.n_layers + 1
    assert not any(step.op == "quantize" for step in build(SHAPE, tensors(SHAPE, "F16")).steps)


def test_weight_names_are_those_of_the_file_once() -> None:
    for shape in (SHAPE, Llama()):
        names = build(shape, tensors(shape)).weight_names
        assert sorted(names) == sorted(shape.shapes)


def test_caches_are_key_value_heads() -> None:
    assert build(Llama(), tensors(Llama())).caches == [Cache(2, 32, 32)] * 2


@pytest.mark.parametrize("name", arch.names())
def test_an_architecture_is_one_short_file(name: str) -> None:
    text = (Path(arch.__file__).parent / f"{name}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 80


def test_values_have_no_number() -> None:
    value = PlanBuilder().embedding(Weight("token_embd.weight", "F32", (10, 4)))
    for use in (bool, float, int, lambda v: 1 if v else 0, lambda v: v or None, math.sqrt):
        with pytest.raises(TypeError):
            use(value)


# What is refused: tensors


@pytest.mark.parametrize("name", [n for n in Llama().shapes if n != "output.weight"])
def test_a_missing_tensor_is_named(name: str) -> None:
    """Without output.weight the embedding's table is the head."""
    weights = tensors(Llama())
    del weights[name]
    with pytest.raises(GGUFError, match=rf"^tiny\.gguf: tensor {re.escape(name)} is missing"):
        build(Llama(), weights)


NEIGHBOURS = {  # who else may be named: a tensor of the wrong shape shows where it meets the next one
    "token_embd.weight": "blk.0.attn_norm.weight|output.weight",
    "blk.0.ffn_gate.weight": "blk.0.ffn_up.weight",
    "blk.1.ffn_gate.weight": "blk.1.ffn_up.weight",
}


@pytest.mark.parametrize("name", Llama().shapes)
def test_a_wrong_shape_is_refused(name: str) -> None:
    rows, *cols = Llama().shapes[name]
    wrong = [(rows + 1, *cols), (rows - 1, *cols), (rows, *cols, 2), (2, rows, *cols)]
    if cols:
        wrong += [(rows,), (cols[0],), (rows, cols[0] + 32), (rows, cols[0] - 32), (cols[0], rows + 32)]
    for shape in wrong:
        weights = tensors(Llama()) | {name: Weight(name, "F32", shape)}
        names = f"{name}|{NEIGHBOURS.get(name, name)}"
        with pytest.raises(GGUFError, match=rf"^(tiny\.gguf: )?tensor ({names})"):
            build(Llama(), weights)


def test_columns_that_are_no_whole_blocks() -> None:
    shape = Llama(d_model=80, n_heads=2, n_kv_heads=2, head_dim=40)
    with pytest.raises(UnsupportedError, match=r"attn_q\.weight: 80 columns are not whole blocks of 32"):
        build(shape, tensors(shape, "Q4_0"))


def test_gate_and_up_of_different_kinds() -> None:
    with pytest.raises(UnsupportedError, match=r"ffn_gate.*\(F32\) and .*ffn_up.*\(Q4_0\) mix float and quantized"):
        build(SHAPE, tensors(SHAPE, ffn_up="Q4_0"))


def test_experts_of_different_kinds() -> None:
    b = PlanBuilder("a.gguf")
    gate, up = stack("g", 3, 6, 32), stack("u", 3, 6, 32, type_="Q4_0")
    with pytest.raises(UnsupportedError, match=r"^a\.gguf: tensors g \(F32\) and u \(Q4_0\) mix float and quantized"):
        b.experts_gated(value(32, b), routes(b), gate, up)


# What is refused: operands, by the builder's methods


def value(width: int, b: PlanBuilder) -> Value:
    return b.embedding(Weight("t", "F32", (10, width)))


def routes(b: PlanBuilder) -> Value:
    """Two of three experts."""
    return b.route(value(3, b), Routing(n_used=2))


def stack(name: str, *shape: int, type_: str = "F32") -> Weight:
    return Weight(name, type_, shape)


REFUSED: dict[str, tuple[Callable[[PlanBuilder], Any], str]] = {
    "add": (lambda b: b.add(value(8, b), value(9, b)), "add: 8 and 9 wide"),
    "add-rows": (lambda b: b.add(value(8, b), b.outputs(value(8, b))), "of tokens and outputs"),
    "residual": (
        lambda b: b.linear(value(8, b), Weight("w", "F32", (4, 8)), residual=value(5, b)),
        r"tensor w: shape \(4, 8\) where \(5, 8\)",
    ),
    "rope-odd": (lambda b: b.rope_table(31, 1e4), "rope: 31 dimensions"),
    "rope-base": (lambda b: b.rope_table(32, 0.5), "base 0.5"),
    "rope-base-large": (lambda b: b.rope_table(32, 1e301), "base 1e[+]301"),
    "rope-heads": (lambda b: b.rope(value(65, b), b.rope_table(8, 1e4), 16, "norm"), "rope: 8 of 65"),
    "rope-wide": (lambda b: b.rope(value(64, b), b.rope_table(32, 1e4), 16, "norm"), "do not fit heads of 16"),
    "attention-q": (lambda b: b.attention(value(65, b), value(16, b), value(16, b), 4, 1, 1.0), "q, k and v are 65"),
    "attention-k": (lambda b: b.attention(value(64, b), value(17, b), value(16, b), 4, 1, 1.0), "17"),
    "attention-v": (lambda b: b.attention(value(64, b), value(32, b), value(33, b), 4, 2, 1.0), "33"),
    "norm-heads": (lambda b: b.rms_norm(value(9, b), None, 1e-5, head_dim=4), "rms_norm: 9 is not whole heads of 4"),
    "join": (lambda b: b.join_heads(value(8, b), value(9, b), 2), "join_heads: 8 and 9 wide in 2 heads"),
    "sigmoid-gate": (lambda b: b.sigmoid_gate(value(8, b), value(2, b)), "a gate 2 wide, where 1 is needed"),
    "latent": (
        lambda b: b.latent_attention(value(63, b), value(16, b), 4, 8, 1.0),
        "latent attention: 4 heads of 16 do not make the 63 of q",
    ),
    "yarn-base": (
        lambda b: b.rope_table(8, 1, RopeScaling(original_context=64)),
        "rope scaling: yarn needs a base above 1",
    ),
    "experts-stack": (
        lambda b: b.experts_gated(value(8, b), routes(b), stack("g", 4, 6, 8), stack("u", 4, 6, 8)),
        r"tensor g: shape \(4, 6, 8\) where \(3, any, 8\) is needed",
    ),
    "experts-up": (
        lambda b: b.experts_gated(value(8, b), routes(b), stack("g", 3, 6, 8), stack("u", 3, 5, 8)),
        r"tensor u: shape \(3, 5, 8\) differs from g's \(3, 6, 8\)",
    ),
    "experts-linear": (
        lambda b: b.experts_linear(value(9, b), routes(b), stack("w", 3, 5, 4)),
        "tensor w: 9 is not 2 equal parts",
    ),
    "combine": (lambda b: b.combine(value(9, b), routes(b)), "experts: 9 is not 2 equal parts"),
    "finish": (
        lambda b: b.finish(b.linear(b.outputs(value(8, b)), Weight("w", "F32", (11, 8)))),
        "tensor w: 11 rows, but 10 tokens have an embedding",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_operands_that_do_not_fit(case: str) -> None:
    call, message = REFUSED[case]
    with pytest.raises(GGUFError, match=message):
        call(PlanBuilder())


# What is refused: metadata

WHOLE, POSITIVE = "not a whole number of", "not a positive number"
BAD_METADATA = [
    *(
        (key, wrong, f"is {wrong!r}, {WHOLE}")
        for key in (
            "block_count",
            "embedding_length",
            "attention.head_count",
            "attention.head_count_kv",
            "attention.key_length",
            "context_length",
            "rope.dimension_count",
        )
        for wrong in (-1, 1 << 40, 2.0, "2", True, [2])
    ),
    *((key, 0, f"is 0, {WHOLE}") for key in ("block_count", "embedding_length", "attention.head_count")),
    *(
        (key, wrong, f"is {wrong!r}, {POSITIVE}")
        for key in ("attention.layer_norm_rms_epsilon", "rope.freq_base")
        for wrong in (-1e-5, math.inf, math.nan, "1e-5", True)
    ),
    ("attention.layer_norm_rms_epsilon", 0.0, f"is 0.0, {POSITIVE}"),
    *((key, None, "is missing") for key in ("block_count", "embedding_length", "attention.head_count")),
    ("attention.layer_norm_rms_epsilon", None, "is missing"),
    ("attention.head_count_kv", 4, "4 does not divide the 6 heads"),
    ("rope.scaling.type", 1, "is 1, not a string"),
]


@pytest.mark.parametrize(("key", "wrong", "message"), BAD_METADATA)
def test_bad_metadata_is_named(key: str, wrong: Any, message: str) -> None:
    with pytest.raises(GGUFError) as caught:
        build(Llama(), tensors(Llama()), **{key: wrong})
    assert str(caught.value).startswith(f"tiny.gguf: metadata llama.{key}: ")
    assert message in str(caught.value)


def test_heads_must_divide_the_width_where_no_head_size_is_given() -> None:
    with pytest.raises(GGUFError, match=r"llama\.attention\.head_count: 7 heads do not divide embedding_length 96"):
        hparams(Llama(n_heads=7, n_kv_heads=7), attention__key_length=None)


def test_defaults() -> None:
    lengths = {"attention__key_length": None, "attention__value_length": None}
    hp = hparams(Llama(), attention__head_count_kv=None, context_length=None, expert_count=0, **lengths)
    assert (hp.head_dim, hp.n_kv_heads, hp.context_length) == (16, 6, 2048)
    shape = Llama(head_dim=16, n_rot=16, rope_theta=10000.0)
    absent = {"rope__dimension_count": None, "rope__freq_base": None, **lengths}
    assert build(shape, tensors(shape), **absent).dump() == build(shape, tensors(shape)).dump()
    build(shape, tensors(shape), expert_count=0, rope__scaling__type="none")


def test_an_unknown_rope_scaling() -> None:
    with pytest.raises(
        UnsupportedError, match=r"^tiny\.gguf: rope scaling \(dynamic\) is not supported by this version"
    ):
        build(Llama(), tensors(Llama()), rope__scaling__type="dynamic")


# Files


@pytest.mark.parametrize("name", ["mamba", "blocks", "hparams", "LLAMA", "../llama", ""])
def test_unknown_architecture(name: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"a\.gguf: architecture {re.escape(repr(name))} .* supported: .*llama"):
        arch.find(name, "a.gguf")


def test_a_file_of_an_unknown_architecture(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", random_weights(SHAPE), {"block_count": 2}, architecture="mamba")
    with pytest.raises(UnsupportedError, match="architecture 'mamba'"):  # though most of a llama's metadata is missing
        Model(path)


def test_a_file_without_architecture(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 0))
    with pytest.raises(GGUFError, match=r"a\.gguf: metadata general\.architecture: missing or not a string"):
        Model(path)


def test_an_unused_tensor_is_refused(tmp_path: Path) -> None:
    """A bias that is left out gives a model that talks, wrongly."""
    weights = random_weights(SHAPE)
    weights["blk.0.ffn_norm.bias"] = weights["output_norm.weight"]
    weights["blk.1.ffn_norm.bias"] = weights["output_norm.weight"]
    path = write(tmp_path / "a.gguf", weights, SHAPE.metadata)
    with pytest.raises(UnsupportedError, match=r"a\.gguf: tensor blk\.0\.ffn_norm\.bias is not used .* \(and 1 more\)"):
        Model(path)


def test_a_good_file_loads(tmp_path: Path) -> None:
    with Model(write_llama(tmp_path / "a.gguf", SHAPE, "Q4_0"), threads=1) as model:
        assert model.plan.dump() == build(SHAPE, tensors(SHAPE, "Q4_0")).dump()
        assert model.context == 512


if __name__ == "__main__":
    print(golden_dump(), end="")
