"""Families of one's own: the example of docs/adding-a-model.md, registered by hand and as an entry point."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from budgets import KV_FLOAT16, worst_row
from numpy.typing import NDArray

import pyruntime
from pyruntime import arch
from pyruntime.errors import UnsupportedError

DOCUMENT = Path(__file__).parent.parent / "docs" / "adding-a-model.md"
D_MODEL, D_FF, N_VOCAB, N_LAYERS, N_HEADS, N_KV_HEADS, HEAD_DIM = 96, 160, 211, 2, 4, 2, 24
THETA, EPS = 5000.0, 1e-5
METADATA = {
    "block_count": N_LAYERS,
    "context_length": 256,
    "embedding_length": D_MODEL,
    "attention.head_count": N_HEADS,
    "attention.head_count_kv": N_KV_HEADS,
    "attention.layer_norm_rms_epsilon": EPS,
    "rope.freq_base": THETA,
}
SHAPES: dict[str, tuple[int, ...]] = {
    "token_embd.weight": (N_VOCAB, D_MODEL),
    "output_norm.weight": (D_MODEL,),
    "output.weight": (N_VOCAB, D_MODEL),
} | {
    f"blk.{i}.{name}.weight": shape
    for i in range(N_LAYERS)
    for name, shape in {
        "attn_q": (N_HEADS * HEAD_DIM, D_MODEL),
        "attn_k": (N_KV_HEADS * HEAD_DIM, D_MODEL),
        "attn_v": (N_KV_HEADS * HEAD_DIM, D_MODEL),
        "attn_gate": (1, D_MODEL),
        "attn_output": (D_MODEL, N_HEADS * HEAD_DIM),
        "ffn_up": (D_FF, D_MODEL),
        "ffn_down": (D_MODEL, D_FF),
    }.items()
}


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arch, "_registered", {})


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    return tiny_models.write(tmp_path / "a.gguf", weights(), METADATA, architecture="tiny-gate")


def weights() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    return {
        name: (
            rng.standard_normal(shape) / shape[-1] ** 0.5 if len(shape) > 1 else rng.uniform(0.5, 1.5, shape)
        ).astype(np.float32)
        for name, shape in SHAPES.items()
    }


def example() -> str:
    (source,) = re.findall(r"<!-- example -->\n```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    return str(source)


def expected(ids: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """The example's logits, position by position and head by head."""
    w = {name: array.astype(np.float64) for name, array in weights().items()}
    hidden = w["token_embd.weight"][ids]
    for i in range(N_LAYERS):
        layer = {name.split(".")[2]: array for name, array in w.items() if name.startswith(f"blk.{i}.")}
        normed = np.stack([unit(row) for row in hidden])
        attended = np.zeros((len(ids), N_HEADS, HEAD_DIM))
        for head in range(N_HEADS):
            rows = slice(head * HEAD_DIM, (head + 1) * HEAD_DIM)
            shared = slice(head // 2 * HEAD_DIM, (head // 2 + 1) * HEAD_DIM)
            q, k = turned(normed @ layer["attn_q"][rows].T), turned(normed @ layer["attn_k"][shared].T)
            v = normed @ layer["attn_v"][shared].T
            for p in range(len(ids)):
                share = np.exp(k[: p + 1] @ q[p] / HEAD_DIM**0.5)
                attended[p, head] = share @ v[: p + 1] / share.sum()
        gate = 1 / (1 + np.exp(-normed @ layer["attn_gate"].T))
        hidden = hidden + (attended.reshape(len(ids), -1) * gate) @ layer["attn_output"].T
        up = np.maximum(np.stack([unit(row) for row in hidden]) @ layer["ffn_up"].T, 0)
        hidden = hidden + up**2 @ layer["ffn_down"].T
    return np.stack([unit(row) * w["output_norm.weight"] for row in hidden]) @ w["output.weight"].T


def unit(row: NDArray[np.float64]) -> NDArray[np.float64]:
    return row / np.sqrt(row @ row / len(row) + EPS)


def turned(heads: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pairs half a head apart, as complex numbers."""
    half = HEAD_DIM // 2
    angles = np.arange(len(heads))[:, np.newaxis] * THETA ** (-np.arange(half) / half)
    pairs = (heads[:, :half] + 1j * heads[:, half:]) * np.exp(1j * angles)
    return np.concatenate([pairs.real, pairs.imag], axis=1)


def test_the_example(model_file: Path) -> None:
    exec(example(), {})  # noqa: S102 (our own document)
    ids = np.random.default_rng(1).integers(0, N_VOCAB, 90)
    with pyruntime.Model(model_file, threads=2) as model:
        assert worst_row(model.logits(ids), expected(ids)) <= KV_FLOAT16
        assert any(step.where.startswith("<string>:") for step in model.plan.steps)


def test_without_it_the_family_is_unknown(model_file: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"a\.gguf: architecture 'tiny-gate' .* is not supported"):
        pyruntime.Model(model_file)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of somebody else's that announces the example, with no need to call register_architecture."""
    site = tmp_path / "site"
    info = site / "tiny_gate-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-gate\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{arch.ENTRY_POINTS}]\ntiny-gate = tiny_gate_package:build\n")
    registration = 'pyruntime.register_architecture("tiny-gate", build)\n'
    assert registration in example()
    (site / "tiny_gate_package.py").write_text(example().replace(registration, ""))
    monkeypatch.syspath_prepend(site)
    return site


def test_an_entry_point(installed: Path, model_file: Path) -> None:
    ids = [3, 1, 4, 1, 5]
    with pyruntime.Model(model_file, threads=1) as model:
        assert worst_row(model.logits(ids), expected(np.array(ids))) <= KV_FLOAT16


def test_a_registered_family_comes_first() -> None:
    def build(*_: Any) -> Any:
        raise AssertionError

    assert arch.find("llama", "a.gguf") is not build
    pyruntime.register_architecture("llama", build)
    assert arch.find("llama", "a.gguf") is build


@pytest.mark.parametrize(
    ("name", "build", "error"), [("", len, ValueError), (3, len, ValueError), ("a", None, TypeError)]
)
def test_what_cannot_be_registered(name: Any, build: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        pyruntime.register_architecture(name, build)
