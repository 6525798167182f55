"""Rotary positions as GGUF metadata describes them: `rope.freq_base`, `rope.dimension_count`, `rope.scaling.*`."""

from __future__ import annotations

from pyruntime.arch.hparams import HParams
from pyruntime.errors import UnsupportedError, shown_name
from pyruntime.plan import PlanBuilder, RopeScaling, Value, Weights
from pyruntime.plan.portable import log


def rotary(b: PlanBuilder, hp: HParams, w: Weights) -> Value:
    """The table of most families: one base, the scaling of the file, factors (`rope_freqs`, Llama 3) where it has them."""
    n_rot = hp.integer("rope.dimension_count", hp.head_dim)
    return b.rope_table(n_rot, theta(hp), scaling(hp), w.optional("rope_freqs"))


def theta(hp: HParams) -> float:
    return hp.number("rope.freq_base", 10000.0)


def scaling(hp: HParams, truncate: bool = True) -> RopeScaling:
    """Linear or yarn scaling; `longrope` and `llama3` are factors of their own, tensors of the file."""
    kind = hp.text("rope.scaling.type", "none")
    magnitude = hp.number("rope.scaling.attn_factor", 1.0)
    if kind in {"none", "linear"}:
        return RopeScaling(hp.number("rope.scaling.factor", hp.number("rope.scale_linear", 1.0)), magnitude=magnitude)
    if kind == "longrope":
        return RopeScaling(magnitude=magnitude)
    if kind == "yarn":
        factor = hp.number("rope.scaling.factor", 1.0)
        return RopeScaling(
            factor,
            hp.integer("rope.scaling.original_context_length", hp.context_length, largest=1 << 31),
            beta_fast=hp.number("rope.scaling.yarn_beta_fast", 32.0),
            beta_slow=hp.number("rope.scaling.yarn_beta_slow", 1.0),
            truncate=truncate,
            magnitude=magnitude * yarn_magnitude(factor, 1.0),
        )
    raise UnsupportedError(f"{hp.path}: rope scaling ({shown_name(kind)}) is not supported by this version")


def yarn_magnitude(factor: float, multiplier: float) -> float:
    """`0.1 multiplier ln(factor) + 1` (arXiv:2309.00071, section 3.4)."""
    return 0.1 * multiplier * log(factor) + 1 if factor > 1 else 1.0
