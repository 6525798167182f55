"""What families read in metadata beyond what transformers can be asked: other contexts, wrong values, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from families.case import Case
from families.catalogue import ALL, FAMILIES, build, weights
from pyruntime import _core, arch
from pyruntime.errors import ContextError, GGUFError, UnsupportedError
from pyruntime.plan import Plan, Weight


def plan(case: Case, **changed: Any) -> Plan:
    return build(case, weights(case), **changed)


def windows(made: Plan) -> list[float]:
    return [step.attributes["window"] for step in made.steps if step.op == "attention"]


def test_phi3_takes_long_factors_for_a_longer_context_alone(tmp_path: Path) -> None:
    path = FAMILIES["phi3"]["long factors"].write(
        tmp_path / "a.gguf"
    )  # 512 positions, of which 64 are the original ones
    used = {n: arch.blueprint(_core.GGUF(path), context=n).plan.weight_names for n in (64, 65)}
    assert "rope_factors_short.weight" in used[64]
    assert "rope_factors_long.weight" not in used[64]
    assert "rope_factors_long.weight" in used[65]
    assert "rope_factors_short.weight" not in used[65]


@pytest.mark.parametrize("pattern", [3, [True, True, False, True, True, False, True], np.array([1, 1, 0, 1, 1, 0, 1])])
def test_patterns_of_windows(pattern: Any) -> None:
    assert windows(plan(FAMILIES["gemma3"]["as most files are"], attention__sliding_window_pattern=pattern)) == [
        20, 20, 0, 20, 20, 0, 20,
    ]  # fmt: skip


@pytest.mark.parametrize("pattern", ["3", 2.5, -1, [True] * 6, [True] * 8, [2] * 7, [0.5] * 7, [], [[True]] * 7, None])
def test_wrong_patterns_of_windows(pattern: Any) -> None:
    case = FAMILIES["gemma3"]["as most files are"]
    if pattern is None:
        assert windows(plan(case)) == [20, 20, 20, 20, 20, 0, 20]  # the family's own
        return
    with pytest.raises(GGUFError, match=r"^tiny\.gguf: metadata gemma3\.attention\.sliding_window_pattern: is "):
        plan(case, attention__sliding_window_pattern=pattern)


def test_a_window_of_zero_is_none() -> None:
    assert windows(plan(FAMILIES["gemma3"]["as most files are"], attention__sliding_window=0)) == [0] * 7


def test_falcon_with_alibi_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"^tiny\.gguf: falcon with alibi"):
        plan(FAMILIES["falcon"]["7B: one key-value head"], attention__max_alibi_bias=8.0)


def test_mpt_with_clamps_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"^tiny\.gguf: mpt with clamped"):
        plan(FAMILIES["mpt"]["plain"], attention__clamp_kqv=6.0)


def test_ministral_heads_turn_as_a_whole() -> None:
    with pytest.raises(GGUFError, match=r"mistral3\.rope\.dimension_count: is 12, not a whole number of 24 to 24"):
        plan(FAMILIES["mistral3"]["as files are"], rope__dimension_count=12)


def test_a_norm_of_heads_must_be_as_wide_as_a_head() -> None:
    case = next(iter(FAMILIES["qwen3"].values()))
    for name in ("attn_q_norm", "attn_k_norm"):
        weight = weights(case)[f"blk.0.{name}.weight"]
        wider = Weight(weight.name, "F32", (2 * weight.shape[0],))
        with pytest.raises(GGUFError, match=rf"^tiny\.gguf: tensor blk\.0\.{name}\.weight: shape .* is needed"):
            build(case, weights(case) | {weight.name: wider})


def test_no_more_positions_than_have_embeddings(tmp_path: Path) -> None:
    path = next(iter(FAMILIES["gpt2"].values())).write(tmp_path / "a.gguf")
    limit = arch.blueprint(_core.GGUF(path)).context
    with pytest.raises(ContextError, match=rf"a\.gguf: a context of {limit + 1}, but .* for {limit} positions"):
        arch.blueprint(_core.GGUF(path), context=limit + 1)


@pytest.mark.parametrize("key", ["attention.scale", "logit_scale", "residual_scale", "embedding_scale"])
@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf"), "1", True])
def test_wrong_multipliers(key: str, wrong: Any) -> None:
    with pytest.raises(GGUFError, match=rf"metadata granite\.{key}: is .*, not a positive number"):
        plan(FAMILIES["granite"]["multipliers"], **{key: wrong})


@pytest.mark.parametrize("factor", [0.5, 1e-300])
def test_frequencies_that_would_turn_too_fast(factor: float) -> None:
    with pytest.raises(GGUFError, match=r"^tiny\.gguf: "):
        plan(FAMILIES["llama"]["linear"], rope__scaling__factor=factor)


@pytest.mark.parametrize("case", ALL.values(), ids=ALL)
def test_whatever_metadata_says(case: Case) -> None:
    """A plan, or an error that names the file: nothing else happens."""
    messages = []
    for key in case.metadata:
        for wrong in (None, 0, -1, 3, 1 << 40, 0.3, 1e300, float("nan"), "x", "yarn", True, [1, 0], np.ones(3)):
            try:
                plan(case, **{key: wrong})
            except (GGUFError, UnsupportedError) as error:
                messages.append(str(error))
    assert len(messages) > 50
    assert all(message.startswith("tiny.gguf: ") for message in messages)
