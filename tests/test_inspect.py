"""`inspect`: what a file is, against the gguf package's reader, and what is told of files that are no model of ours."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import gguf
import gguf_maker
import numpy as np
import pytest
import tiny_gguf
from cli_tools import Cli, assert_one_line_error
from cost import cost

from pyruntime import Model
from pyruntime.inspection import inspect

KEYS = {
    "path": str,
    "files": list,
    "bytes": int,
    "gguf_version": int,
    "architecture": (str, type(None)),
    "name": (str, type(None)),
    "licence": (str, type(None)),
    "parameters": int,
    "bits_per_weight": float,
    "types": list,
    "shape": (dict, type(None)),
    "vocabulary": (dict, type(None)),
    "chat_templates": dict,
    "memory": (dict, type(None)),
    "obstacle": (str, type(None)),
    "metadata": dict,
}
SHAPE = {
    "n_layers": 2,
    "d_model": 96,
    "n_heads": 4,
    "n_kv_heads": 2,
    "head_dim": 24,
    "d_ff": 160,
    "n_experts": None,
    "n_experts_used": None,
    "trained_context": 1024,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tiny_gguf.write(tmp_path / "model.gguf", "Q4_1", metadata={"general.name": "Tiny"})


def as_json(cli: Cli, path: Path, *flags: str) -> dict[str, Any]:
    done = cli("inspect", str(path), "--json", *flags)
    assert (done.code, done.err) == (0, "")
    result: dict[str, Any] = json.loads(done.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    for key, kinds in KEYS.items():
        assert isinstance(result[key], kinds), key
    return result


def test_tensors_and_types_are_what_the_gguf_package_reads(cli: Cli, path: Path) -> None:
    result = as_json(cli, path, "--tensors", "--plan")
    theirs = gguf.GGUFReader(path)
    assert set(result) == {*KEYS, "tensors", "plan"}
    assert [(t["name"], t["type"], t["bytes"]) for t in result["tensors"]] == [
        (t.name, t.tensor_type.name, t.n_bytes) for t in theirs.tensors
    ]
    assert [t["shape"] for t in result["tensors"]] == [[int(n) for n in t.shape[::-1]] for t in theirs.tensors]
    assert result["parameters"] == sum(t.n_elements for t in theirs.tensors)
    assert result["bytes"] == path.stat().st_size
    for share in result["types"]:
        mine = [t for t in theirs.tensors if t.tensor_type.name == share["type"]]
        assert share["tensors"] == len(mine)
        assert share["parameters"] == sum(t.n_elements for t in mine)
        assert share["bytes"] == sum(t.n_bytes for t in mine)
    assert {share["type"]: share["bits_per_weight"] for share in result["types"]} == {"Q4_1": 5.0, "F32": 32.0}


def test_what_the_metadata_says(cli: Cli, path: Path) -> None:
    result = as_json(cli, path)
    assert result["architecture"] == "llama"
    assert result["name"] == "Tiny"
    assert result["shape"] == SHAPE
    ends = {"<|end|>"}
    assert result["vocabulary"] == {"kind": "gpt2", "pre": "gpt-2", "n_tokens": 299, "bos": None, "ends": [*ends]}
    assert result["chat_templates"] == {"default": len(tiny_gguf.TEMPLATE)}
    assert result["obstacle"] is None
    assert result["metadata"]["llama.rope.freq_base"] == 5000.0
    assert result["metadata"]["tokenizer.ggml.tokens"] == {"length": 299, "first": tiny_gguf.TOKENS[:16]}


def test_the_memory_is_what_loading_plans(cli: Cli, path: Path) -> None:
    flags = ("--context", "640", "--kv-type", "q8_0", "--threads", "1")
    told = as_json(cli, path, *flags)["memory"]
    with Model(path, context=640, kv_type="q8_0", threads=1) as model:
        assert told["context"] == 640
        assert told["fits"]
        assert {key: told[key] for key in ("weights", "kv", "activations", "vocabulary")} == {
            "weights": model.memory.weights,
            "kv": model.memory.kv,
            "activations": model.memory.activations,
            "vocabulary": model.memory.vocabulary,
        }
    assert not as_json(cli, path, *flags, "--ram", "1M")["memory"]["fits"]


def test_the_text(cli: Cli, path: Path) -> None:
    done = cli("inspect", str(path), "--tensors", "--plan")
    assert (done.code, done.err) == (0, "")
    head, metadata, tensors, plan = done.out.split("\n\n")
    assert "architecture  llama: 2 layers of 96, 4 heads of 24 (2 of keys and values), feed-forward 160" in head
    assert "\nruns          yes" in head
    assert "  llama.block_count = 2\n" in metadata
    assert "(299 of them)" in metadata
    assert tensors.startswith("tensors\n")
    assert len(tensors.splitlines()) == 1 + len(tiny_gguf.SHAPES)
    assert plan.startswith("plan\n")
    assert "rms_norm(" in plan


def test_an_architecture_of_another_version(cli: Cli, tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / "model.gguf", architecture="mamba")
    result = as_json(cli, path)
    assert "architecture 'mamba'" in result["obstacle"]
    assert (result["architecture"], result["shape"], result["memory"]) == ("mamba", None, None)
    assert result["parameters"] > 0
    assert "\nruns          no: " in cli("inspect", str(path), "--plan").out


@pytest.mark.parametrize(
    ("metadata", "part"),
    [
        ({"llama.attention.head_count": 0}, "llama.attention.head_count"),
        ({"tokenizer.ggml.model": "rwkv"}, "tokenizer kind 'rwkv'"),
        ({"tokenizer.ggml.tokens": None}, "tokenizer.ggml.tokens"),
        ({"tokenizer.ggml.pre": "unheard-of"}, "unheard-of"),
    ],
)
def test_what_keeps_a_file_from_running(cli: Cli, tmp_path: Path, metadata: dict[str, Any], part: str) -> None:
    path = tiny_gguf.write(tmp_path / "model.gguf", metadata=metadata)
    assert part in as_json(cli, path)["obstacle"]


def test_a_file_of_metadata_alone(cli: Cli, tmp_path: Path) -> None:
    entries = (gguf_maker.kv("x.nan", gguf_maker.FLOAT32, b"\0\0\xc0\x7f"),)
    (path := tmp_path / "vocabulary.gguf").write_bytes(gguf_maker.gguf(entries).data)
    result = as_json(cli, path)
    assert "general.architecture" in result["obstacle"]
    assert result["metadata"] == {"x.nan": "nan"}
    assert (result["parameters"], result["bits_per_weight"], result["types"]) == (0, 0.0, [])
    assert "runs          no: " in cli("inspect", str(path), "--tensors").out


def test_nothing_of_a_file_reaches_the_terminal_as_a_command(cli: Cli, tmp_path: Path) -> None:
    evil = "a\x1b]0;owned\x07\r\nb\x9b31m"
    path = tiny_gguf.write(
        tmp_path / "x\x1b[2J.gguf",
        metadata={
            "general.name": evil,
            "general.license": evil,
            f"key{evil}": evil,
            f"tokenizer.chat_template.{evil}": "{{ 1 }}",
            "list": [evil],
        },
        tensors={f"blk.{evil}": np.zeros(32, np.float32)},
    )
    done = cli("inspect", str(path), "--tensors", "--plan")
    assert done.code == 0
    assert not set(done.out + done.err) & {*map(chr, [*range(32), *range(0x7F, 0xA0)])} - {"\n"}
    assert as_json(cli, path)["metadata"]["general.name"] == evil


def test_a_file_that_is_none(cli: Cli, tmp_path: Path) -> None:
    (path := tmp_path / "model.gguf").write_bytes(b"PK\x03\x04 and more")
    assert_one_line_error(cli("inspect", str(path)), 3, "model.gguf: magic (byte 0)")
    assert_one_line_error(cli("inspect", str(tmp_path / "none.gguf")), 3, "none.gguf")


def test_the_size_of_a_model_costs_nothing(tmp_path: Path) -> None:
    """200 GB of weights, which a sparse file has without having them."""
    n_tensors, rows, cols = 1000, 25_000, 4096
    size = rows * cols * 2
    table = tuple(gguf_maker.tensor(f"t{i}", [cols, rows], 1, i * size) for i in range(n_tensors))
    data = gguf_maker.gguf((), table).data
    (path := tmp_path / "model.gguf").write_bytes(data + bytes(-len(data) % 32))
    os.truncate(path, path.stat().st_size + n_tensors * size)
    with cost() as spent:
        found = inspect(path)
    assert spent.seconds < 1  # measured: 0.01
    assert spent.megabytes < 50
    assert found.parameters == n_tensors * rows * cols
    assert found.bits_per_weight == 16
