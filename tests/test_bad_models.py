"""Models that cannot be: each is refused in one line that names the file and what in it is wrong, before it does harm."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_gguf
from cost import cost
from numpy.typing import NDArray

import pyruntime.model
from pyruntime import Model, _core
from pyruntime.errors import (
    ContextError,
    GGUFError,
    MemoryLimitError,
    NumericsError,
    PyruntimeError,
    TemplateError,
    UnsupportedError,
)
from pyruntime.memory_plan import MemoryPlan

D, FF, N = tiny_gguf.D_MODEL, tiny_gguf.D_FF, tiny_gguf.N_VOCAB
BLOCK_BYTES = {"Q4_0": 18, "Q4_1": 20, "Q8_0": 34}
HALF_NAN, HALF_INF = 0x7E00, 0x7C00


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bad.gguf"


def refusal(path: Path, error: type[PyruntimeError], **options: Any) -> str:
    """What loading says: one line that names the file."""
    with cost() as spent, pytest.raises(error) as caught:
        Model(path, threads=2, **options)
    assert spent.seconds < 2
    assert spent.megabytes < 500
    assert type(caught.value) is error
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) < 500
    assert str(path) in said
    return said


# The arguments


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"threads": 0}, ValueError, "threads must be between 1 and 1024, not 0"),
        ({"threads": 1025}, ValueError, "threads must be between 1 and 1024, not 1025"),
        ({"threads": "2"}, TypeError, "'str' object"),
        ({"threads": 1.5}, TypeError, "'float' object"),
        ({"context": 0}, ValueError, "context must be at least 1, not 0"),
        ({"context": "many"}, TypeError, "'str' object"),
        ({"context": 1.5}, TypeError, "'float' object"),
    ],
)
def test_arguments_out_of_range(path: Path, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):  # before the file, which is not there, is opened
        Model(path, **options)


# The file


def test_a_name_that_a_terminal_would_obey(tmp_path: Path) -> None:
    """The engine's own message about a tensor, and a path."""
    path = tmp_path / "a\nb.gguf"
    name = "x\x1b[31m\u202e.weight"
    tiny_gguf.write(path, tensors={name: np.zeros((D, D), np.float32), "iq\t": ("IQ1_S", np.zeros((1, 50), np.uint8))})
    with _core.GGUF(os.fspath(path)) as file, pytest.raises(UnsupportedError) as caught:
        _core.loaded_bytes(file, [name, "iq\t"], [])
    assert str(caught.value).isprintable()
    assert "a\\x0ab.gguf: tensor iq\\x09 at offset" in str(caught.value)


UNLIKE_ANY: dict[str, dict[str, Any]] = {
    "number": {"metadata": {"llama.block_count": "two"}},
    "missing": {"tensors": {"output_norm.weight": None}},
    "shape": {"tensors": {"output_norm.weight": np.zeros(5, np.float32)}},
    "unused": {"tensors": {"x.weight": np.zeros(5, np.float32)}},
    "architecture": {"architecture": "gpt5"},
    "feature": {"metadata": {"llama.rope.scaling.type": "dynamic"}},
}


@pytest.mark.parametrize("case", UNLIKE_ANY)
def test_a_path_that_a_terminal_would_obey(tmp_path: Path, case: str) -> None:
    path = tiny_gguf.write(tmp_path / "a\nb\x1b[31m.gguf", **UNLIKE_ANY[case])
    with pytest.raises((GGUFError, UnsupportedError)) as caught:
        Model(path)
    assert str(caught.value).isprintable()
    assert rf"{tmp_path}/a\nb\x1b[31m.gguf: " in str(caught.value)


def test_a_file_that_is_not_there(path: Path) -> None:
    assert "No such file" in refusal(path, GGUFError)


def test_a_folder(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path, GGUFError)


@pytest.mark.parametrize("content", [b"", b"GG", b"#!/bin/sh\n", b"PK\3\4" + bytes(100), b"GGUF", bytes(1 << 16)])
def test_what_is_not_a_gguf(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    refusal(path, GGUFError)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_a_pipe_that_nobody_writes_to(path: Path) -> None:
    os.mkfifo(path)
    refusal(path, GGUFError)


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.7, 0.999])
def test_a_download_that_broke_off(path: Path, keep: float) -> None:
    tiny_gguf.write(path)
    os.truncate(path, int(path.stat().st_size * keep))
    assert "do not fit in the" in refusal(path, GGUFError)


def test_a_file_that_shrinks_after_its_header_was_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_gguf.write(path)
    memory_needs = pyruntime.model.memory_needs

    def shrink(*args: Any, **options: Any) -> MemoryPlan:
        os.truncate(path, path.stat().st_size // 2)
        return memory_needs(*args, **options)

    monkeypatch.setattr(pyruntime.model, "memory_needs", shrink)
    assert "tensor" in refusal(path, GGUFError)


# Types and values of tensors


@pytest.mark.parametrize(("weight_type", "n_bytes"), [("IQ2_XXS", 66), ("IQ3_S", 110), ("TQ2_0", 66)])
def test_a_type_of_another_version(path: Path, weight_type: str, n_bytes: int) -> None:
    raw = np.zeros((D, n_bytes), np.uint8)  # rows of 256
    tiny_gguf.write(path, "F32", tensors={"blk.1.ffn_down.weight": (weight_type, raw)} | wide(256))
    said = refusal(path, UnsupportedError)
    assert "blk.1.ffn_down.weight" in said
    assert weight_type in said


def wide(d_ff: int) -> dict[str, NDArray[np.float32]]:
    """The rest of layer 1 for a feed-forward of this width."""
    gate = tiny_gguf.random_weight("gate", (d_ff, D))
    return {"blk.1.ffn_gate.weight": gate, "blk.1.ffn_up.weight": gate}


def test_a_type_that_nobody_knows(path: Path) -> None:
    tiny_gguf.write(path)
    data = bytearray(path.read_bytes())
    name = b"blk.1.ffn_down.weight"
    at = data.index(name) + len(name) + 4 + 2 * 8  # behind the number of dimensions and the two of them
    struct.pack_into("<I", data, at, 199)
    path.write_bytes(data)
    said = refusal(path, GGUFError)
    assert name.decode() in said
    assert "199" in said


@pytest.mark.parametrize("value", [HALF_NAN, HALF_INF], ids=["NaN", "infinity"])
@pytest.mark.parametrize(("weight_type", "field"), [("Q4_0", 0), ("Q4_1", 0), ("Q4_1", 2), ("Q8_0", 0)])
@pytest.mark.parametrize(("row", "block"), [(0, 0), (17, 2), (D - 1, FF // 32 - 1)])
def test_a_scale_that_is_not_finite(path: Path, weight_type: str, row: int, block: int, field: int, value: int) -> None:
    raw = np.random.default_rng(0).integers(0, 60, (D, FF // 32, BLOCK_BYTES[weight_type]), np.uint8)  # halves below 1
    raw[row, block, field : field + 2] = np.array([value], "<u2").view(np.uint8)
    tiny_gguf.write(path, weight_type, tensors={"blk.0.ffn_down.weight": (weight_type, raw.reshape(D, -1))})
    said = refusal(path, GGUFError)
    assert "tensor blk.0.ffn_down.weight at offset " in said
    assert f"row {row}, block {block}: a {weight_type} scale is not finite" in said


def test_a_scale_of_256_weights_that_is_not_finite(path: Path) -> None:
    raw = np.zeros((D, 2, 210), np.uint8)
    raw[33, 1, 208:] = np.array([HALF_NAN], "<u2").view(np.uint8)
    tiny_gguf.write(path, "F32", tensors={"blk.1.ffn_down.weight": ("Q6_K", raw.reshape(D, -1))} | wide(512))
    said = refusal(path, GGUFError)
    assert "tensor blk.1.ffn_down.weight at offset " in said
    assert "row 33, block 1: a Q6_K scale is not finite" in said


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("weight_type", ["F32", "F16", "BF16"])
def test_a_weight_that_is_not_finite(path: Path, weight_type: str, value: float) -> None:
    weights = tiny_gguf.random_weight("w", (D, FF))
    weights[33, 7] = value
    tiny_gguf.write(path, weight_type, tensors={"blk.1.ffn_down.weight": weights})
    assert "tensor blk.1.ffn_down.weight at offset " in (said := refusal(path, GGUFError))
    assert f"row 33, block 7: a {weight_type} value is not finite" in said


def test_a_norm_that_is_not_finite(path: Path) -> None:
    norm = tiny_gguf.random_weight("n", (D,))
    norm[95] = np.nan
    tiny_gguf.write(path, tensors={"output_norm.weight": norm})
    said = refusal(path, GGUFError)
    assert "tensor output_norm.weight" in said
    assert "element 95 is not finite" in said


def test_the_largest_finite_scales_load(path: Path) -> None:
    """What is finite is a number, however large: it is the logits that are watched then."""
    raw = np.zeros((D, FF // 32, 18), np.uint8)
    raw[..., :2] = np.array([0x7BFF], "<u2").view(np.uint8)
    tiny_gguf.write(path, "Q4_0", tensors={"blk.0.ffn_down.weight": ("Q4_0", raw.reshape(D, -1))})
    Model(path, threads=1).close()


# What a model must have


@pytest.mark.parametrize("name", tiny_gguf.SHAPES)
def test_a_tensor_that_is_missing(path: Path, name: str) -> None:
    tiny_gguf.write(path, tensors={name: None})
    if name == "output.weight":  # then the embedding is the head
        Model(path, threads=1).close()
    else:
        assert f"tensor {name} is missing" in refusal(path, GGUFError)


@pytest.mark.parametrize(("name", "shape"), [
    ("token_embd.weight", (N, D + 32)),
    ("token_embd.weight", (N - 1, D)),
    ("token_embd.weight", (N + 1, D)),
    ("output.weight", (N - 1, D)),
    ("output.weight", (N + 1, D)),
    ("output.weight", (N, D + 32)),
    ("output_norm.weight", (D - 1,)),
    ("blk.0.attn_norm.weight", (2 * D,)),
    ("blk.0.attn_norm.weight", (1, D)),
    ("blk.0.attn_q.weight", (D + 1, D)),
    ("blk.0.attn_q.weight", (2 * D, D)),
    ("blk.0.attn_q.weight", (D, D - 32)),
    ("blk.0.attn_q.weight", (D,)),
    ("blk.0.attn_k.weight", (24, D)),
    ("blk.0.attn_v.weight", (96, D)),
    ("blk.0.attn_output.weight", (D, D + 32)),
    ("blk.0.attn_output.weight", (D + 1, D)),
    ("blk.1.ffn_gate.weight", (FF + 32, D)),
    ("blk.1.ffn_up.weight", (FF, D + 32)),
    ("blk.1.ffn_down.weight", (D + 1, FF)),
    ("blk.1.ffn_down.weight", (D, FF + 32)),
])  # fmt: skip
def test_a_tensor_of_a_shape_that_does_not_fit(path: Path, name: str, shape: tuple[int, ...]) -> None:
    """Also the ones that would have the core read past the end of a table."""
    tiny_gguf.write(path, tensors={name: tiny_gguf.random_weight(name, shape)})
    refusal(path, GGUFError)


def test_a_tensor_of_three_dimensions(path: Path) -> None:
    tiny_gguf.write(path, "F32", tensors={"blk.0.attn_q.weight": tiny_gguf.random_weight("q", (2, D // 2, D))})
    assert "blk.0.attn_q.weight" in refusal(path, GGUFError)


def test_a_tensor_of_four_dimensions(path: Path) -> None:
    """As the core refuses it: no plan has one."""
    tiny_gguf.write(path, "F32", tensors={"blk.0.attn_q.weight": tiny_gguf.random_weight("q", (2, 2, D // 4, D))})
    assert "blk.0.attn_q.weight" in refusal(path, GGUFError)
    with _core.GGUF(path) as file, pytest.raises(UnsupportedError, match=r"attn_q\.weight at offset \d+: 4 dimensions"):
        _core.loaded_bytes(file, ["blk.0.attn_q.weight"], [])


def test_a_row_that_is_not_whole_blocks(path: Path) -> None:
    """F16 may have any width, but its product's input is quantized for the others."""
    narrow = {f"blk.0.ffn_{n}.weight": tiny_gguf.random_weight(n, (100, D)) for n in ("gate", "up")}
    tiny_gguf.write(path, tensors=narrow | {"blk.0.ffn_down.weight": ("Q8_0", np.zeros((D, 4 * 34), np.uint8))})
    refusal(path, GGUFError)


@pytest.mark.parametrize(
    "name", ["blk.0.ffn_norm.bias", "blk.0.attn_q_norm.weight", "blk.2.attn_q.weight", "x\n\x1b[31m\u202e.weight"]
)
def test_a_tensor_that_would_be_left_out(path: Path, name: str) -> None:
    tiny_gguf.write(path, tensors={name: tiny_gguf.random_weight(name, (D,))})
    said = refusal(path, UnsupportedError)
    assert "is not used by architecture llama in this version" in said
    assert said.isprintable()


@pytest.mark.parametrize("name", ["gpt5", "../llama", "os", "blocks", "x" * 10_000, "a\nb"])
def test_an_architecture_of_another_version(path: Path, name: str) -> None:
    tiny_gguf.write(path, architecture=name)
    said = refusal(path, UnsupportedError)
    assert "(general.architecture) is not supported by this version; supported: " in said
    assert "llama" in said


LLAMA = "llama."
METADATA: list[tuple[str, Any, str]] = [
    ("block_count", None, "is missing"),
    ("block_count", 0, "not a whole number of 1 to"),
    ("block_count", (1 << 32) - 1, "not a whole number of 1 to"),
    ("block_count", "two", "'two'"),
    ("block_count", 3, "tensor blk.2.attn_norm.weight is missing"),
    ("embedding_length", None, "is missing"),
    ("attention.head_count", None, "is missing"),
    ("attention.head_count", 0, "not a whole number of 1 to"),
    ("attention.head_count", 5, "2 does not divide the 5 heads"),
    ("attention.head_count", [4] * 4000, "not a whole number"),
    ("attention.head_count_kv", 3, "3 does not divide the 4 heads"),
    ("attention.head_count_kv", 4, ""),
    ("attention.head_count_kv", [2, 2], "not a whole number"),
    ("attention.key_length", 32, ""),
    ("attention.key_length", 12, ""),
    ("attention.key_length", 48, ""),
    ("attention.layer_norm_rms_epsilon", None, "is missing"),
    ("attention.layer_norm_rms_epsilon", 0.0, "not a positive number"),
    ("attention.layer_norm_rms_epsilon", -1e-5, "not a positive number"),
    ("attention.layer_norm_rms_epsilon", float("nan"), "not a positive number"),
    ("rope.dimension_count", 23, ""),
    ("rope.dimension_count", 26, ""),
    ("rope.freq_base", 0.5, ""),
    ("rope.freq_base", float("inf"), "not a positive number"),
    ("rope.freq_base", 1e301, ""),
    ("context_length", "y" * 10_000, "not a whole number"),
]


@pytest.mark.parametrize(("key", "value", "message"), METADATA, ids=[f"{k}={str(v)[:9]}" for k, v, _ in METADATA])
def test_a_number_that_does_not_fit(path: Path, key: str, value: Any, message: str) -> None:
    tiny_gguf.write(path, metadata={LLAMA + key: value})
    said = refusal(path, GGUFError)
    assert message in said
    if ("is missing" in message and "tensor" not in message) or message.startswith("not "):
        assert f"metadata llama.{key}: " in said


@pytest.mark.parametrize(("key", "value"), [("rope.scaling.type", "dynamic"), ("rope.scaling.type", "z" * 10_000)])
def test_a_feature_of_another_version(path: Path, key: str, value: Any) -> None:
    tiny_gguf.write(path, metadata={LLAMA + key: value})
    assert "not supported by this version" in refusal(path, UnsupportedError)


@pytest.mark.parametrize("key", ["tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.merges"])
def test_a_model_without_a_tokenizer_still_computes(path: Path, key: str) -> None:
    """Its logits can be asked for; words cannot."""
    tiny_gguf.write(path, metadata={key: None})
    with Model(path, threads=1) as model:
        assert model.logits([1, 2]).shape == (2, N)
        with pytest.raises((GGUFError, UnsupportedError), match=f"bad.gguf: {key}"):
            model.generate("a")


# Memory


def with_memory(path: Path, available: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_gguf.write(path)
    monkeypatch.setattr(pyruntime.memory_plan, "available_memory", lambda: available)


def test_a_context_that_memory_cannot_hold(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_memory(path, 300 << 20, monkeypatch)
    said = refusal(path, MemoryLimitError, context=1 << 20)
    with Model(path, threads=1) as model:
        per_position = model.engine.counters()["page_bytes"] // 64
    assert f"a context of {1 << 20}: {(per_position << 20) / 1e6:.0f} MB, " in said
    assert "the system leaves " in said
    fits = int(said.rsplit(" ", 1)[1])
    assert "the largest context that fits is " in said
    assert 500_000 < fits < 1 << 20
    Model(path, threads=1, context=fits).close()
    refusal(path, MemoryLimitError, context=fits + 64)


def test_a_context_that_just_fits_can_be_filled(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_memory(path, 16 << 20, monkeypatch)
    fits = int(refusal(path, MemoryLimitError, context=1 << 20).rsplit(" ", 1)[1])
    with Model(path, threads=2, context=fits) as model, model.session() as session:
        session.append(tiny_gguf.ids(fits))
        with (
            model.session() as second,
            pytest.raises(MemoryLimitError, match=r"the KV cache is full: .*close or rewind"),
        ):
            second.append(tiny_gguf.ids(fits))


def test_the_budget_counts_weights_as_they_are_loaded(path: Path) -> None:
    """Rows are padded to groups of 16: a file of thin matrices takes more memory than its bytes."""
    tiny_gguf.write(path)
    with Model(path, threads=1) as model, _core.GGUF(path) as file:
        loaded = _core.loaded_bytes(file, model.plan.weight_names, sorted(model.plan.flat))
        assert loaded == model.engine.counters()["weight_bytes"]
        assert loaded > sum(t.n_bytes for t in file.tensors)


def test_weights_that_memory_cannot_hold(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_memory(path, 10_000, monkeypatch)
    assert "the model does not fit" in refusal(path, MemoryLimitError)


def test_a_system_that_does_not_say_how_much_memory_it_has(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_memory(path, None, monkeypatch)  # type: ignore[arg-type]
    with Model(path, threads=1) as model:
        assert model.logits([1]).shape == (1, N)


# Numbers that overflow on the way


def huge(name: str, factor: float) -> dict[str, NDArray[np.float32]]:
    values = tiny_gguf.random_weight(name, tiny_gguf.SHAPES[name]).astype(np.float64) * factor
    return {name: values.clip(-3e38, 3e38).astype(np.float32)}


OVERFLOWS: dict[str, dict[str, NDArray[np.float32]]] = {
    "logits": huge("output.weight", 3e38) | huge("output_norm.weight", 10),
    "keys": huge("blk.0.attn_k.weight", 1e10),
    "values": huge("blk.0.attn_v.weight", 1e10),
    "gate": huge("blk.1.ffn_gate.weight", 1e38),
    "down": huge("blk.1.ffn_down.weight", 3e38) | huge("blk.1.ffn_up.weight", 1e20),
}


@pytest.mark.parametrize("isa", _core.available_isas())
@pytest.mark.parametrize("where", OVERFLOWS)
def test_weights_that_overflow(path: Path, where: str, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finite weights, and yet no number comes out: an error, in steps of every size, and nothing is left of it."""
    monkeypatch.setenv("PYRUNTIME_ISA", isa)
    tiny_gguf.write(path, "F32", tensors=OVERFLOWS[where])
    with Model(path, threads=2) as model, model.session() as session:
        uses: list[Callable[[], Any]] = [
            lambda: session.append([1]),
            lambda: session.append(tiny_gguf.ids(70)),
            lambda: session.append(tiny_gguf.ids(600)),
            lambda: model.logits([1, 2, 3]),
            lambda: model.generate([1, 2], max_tokens=2),
        ]
        for use in uses:
            with pytest.raises(NumericsError, match=r"the logits are not finite: the model's weights overflow"):
                use()
            session.rewind(0)  # of the 600 it kept the first step, of which nobody asked a result
            assert model.engine.counters()["pages"] == 0


def test_large_numbers_that_do_not_overflow_are_fine(path: Path) -> None:
    tiny_gguf.write(path, "F32", tensors=huge("output.weight", 1e30))
    with Model(path, threads=1) as model:
        logits = model.logits(tiny_gguf.ids(20))
    assert np.isfinite(logits).all()
    assert np.abs(logits).max() > 1e30


def test_a_context_longer_than_there_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_gguf.write(path, "F32")
    for memory in (None, 1 << 50):
        monkeypatch.setattr(pyruntime.memory_plan, "available_memory", lambda memory=memory: memory)
        with pytest.raises(ContextError, match=r"context must be at most 1048576, not 1048577"):
            Model(path, threads=1, context=(1 << 20) + 1)
        with Model(path, threads=1, context=1 << 20) as model:
            assert model.context == 1 << 20


def test_a_template_that_fails_names_the_file(path: Path) -> None:
    tiny_gguf.write(path, "F32", metadata={"tokenizer.chat_template": "{{ raise_exception('no tools here') }}"})
    with Model(path, threads=1) as model:
        with pytest.raises(TemplateError, match=rf"^{re.escape(str(path))}: chat template: no tools here"):
            model.chat([{"role": "user", "content": "a"}])
        assert model.generate("a", max_tokens=1).ids  # the model works all the same
