"""Attention, its positions, and its cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pyruntime.plan.operations.base import Base
from pyruntime.plan.values import Cache, Value
from pyruntime.plan.weights import Weight


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """How rotary frequencies are stretched past the original context.

    factor: every frequency is divided by it (linear, arXiv:2306.15595). With `original_context` it is yarn
    (arXiv:2309.00071): slow dimensions are divided, fast ones are not, between those that turn `beta_fast` and `beta_slow` times
    in the original context it is blended; `truncate` rounds these bounds to whole dimensions.
    magnitude: cosines and sines are multiplied by it (yarn's and longrope's attention factor).
    temperature, temperature_length: and those of position p by `1 + temperature * ln(1 + floor(p / temperature_length))`, so that
    queries of whole rotary heads are scaled by it (arXiv:2501.19399, as in Llama 4).
    """

    factor: float = 1.0
    original_context: int = 0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    magnitude: float = 1.0
    temperature: float = 0.0
    temperature_length: int = 0


class AttentionOperations(Base):
    def rope_table(
        self, n_rot: int, theta: float, scaling: RopeScaling | None = None, factors: Weight | None = None
    ) -> Value:
        """Cosines and sines of each token's position, for `rope` (arXiv:2104.09864). factors (n_rot / 2,) divide the
        frequencies one by one (Llama 3, longrope)."""
        if n_rot % 2 or n_rot < 2 or not 1 <= theta <= 1e300:
            self._fail(f"rope: {n_rot} dimensions with base {theta:g}; an even number and 1 to 1e300 are needed")
        if scaling is not None:
            self._check_scaling(scaling, theta)
        y = self._value(n_rot, "tokens")
        attributes: dict[str, float] = {"n_rot": n_rot, "theta": theta}
        if scaling is not None and scaling != RopeScaling():
            attributes |= {
                "factor": scaling.factor,
                "original_context": scaling.original_context,
                "beta_fast": scaling.beta_fast,
                "beta_slow": scaling.beta_slow,
                "truncate": scaling.truncate,
                "magnitude": scaling.magnitude,
            }
            if scaling.temperature:
                attributes |= {"temperature": scaling.temperature, "temperature_length": scaling.temperature_length}
        if factors is not None:
            attributes["factors"] = 1
        self._step("rope_table", (), (y,), self._flat(factors, (n_rot // 2,)), **attributes)
        return y

    def _check_scaling(self, s: RopeScaling, theta: float) -> None:
        in_range = {
            "factor": 2 / 3 <= s.factor <= 1e9,  # the core's angles are exact up to a frequency of 1.5
            "original_context": 0 <= s.original_context < 1 << 31,
            "beta_fast": 1e-9 <= s.beta_fast <= 1e9,
            "beta_slow": 1e-9 <= s.beta_slow <= 1e9,
            "magnitude": 0 < s.magnitude <= 1e9,
            "temperature": 0 <= s.temperature <= 1e9,
            "temperature_length": s.temperature == 0 or 1 <= s.temperature_length < 1 << 31,
        }
        for name, fits in in_range.items():
            if not fits:
                self._fail(f"rope scaling: {name} is {getattr(s, name):g}, out of range")
        if s.original_context and theta == 1:
            self._fail("rope scaling: yarn needs a base above 1")

    def rope(self, x: Value, table: Value, head_dim: int, mode: Literal["norm", "neox"], first: int = 0) -> Value:
        """Rotates elements `first` to `first + n_rot` of each head: pairs (2i, 2i + 1) in mode norm, (i, i + n_rot / 2) in
        mode neox."""
        if x.width % head_dim or first + table.width > head_dim:
            self._fail(f"rope: {table.width} of {x.width} dimensions do not fit heads of {head_dim}")
        y = self._value(x.width, x.rows)
        attributes = {"head_dim": float(head_dim), "neox": float(mode == "neox")} | (
            {"first": float(first)} if first else {}
        )
        self._step("rope", (x, table), (y,), (), **attributes)
        return y

    def attention(
        self, q: Value, k: Value, v: Value, n_heads: int, n_kv_heads: int, scale: float, *,
        window: int = 0, softcap: float = 0.0, alibi: float = 0.0, sinks: Weight | None = None,
    ) -> Value:  # fmt: skip
        """Stores k and v in the cache and attends causally over all of the sequence, or its last `window` positions.

        Values may have heads of another width. softcap: scores become `softcap * tanh(score / softcap)` (arXiv:2408.00118).
        alibi: the largest bias (arXiv:2108.12409). sinks (n_heads,): a score that takes its share of the softmax and has no
        value (gpt-oss).
        """
        head_dim, value_dim = q.width // n_heads, v.width // n_kv_heads
        if (q.width, k.width, v.width) != (n_heads * head_dim, n_kv_heads * head_dim, n_kv_heads * value_dim):
            self._fail(
                f"attention: q, k and v are {q.width}, {k.width} and {v.width} wide, which does not fit "
                f"{n_heads} heads and {n_kv_heads} of keys and values"
            )
        cache = self._cache(Cache(n_kv_heads, head_dim, value_dim))
        self._step("kv_store", (k, v), (), cache=cache)
        y = self._value(n_heads * value_dim, q.rows)
        options = {"softcap": softcap, "alibi": alibi, "sinks": float(sinks is not None)}
        attributes = {name: value for name, value in options.items() if value}
        weights = self._flat(sinks, (n_heads,))
        self._step(
            "attention", (q,), (y,), weights, cache=cache, n_heads=n_heads, scale=scale, window=window, **attributes
        )
        return y

    def latent_attention(self, q: Value, latent: Value, n_heads: int, value_dim: int, scale: float) -> Value:
        """Multi-head latent attention (arXiv:2405.04434) in its compressed form: all heads share one row of the cache, `latent`,
        whose first `value_dim` elements are the value as well. q: (n_heads * latent.width) -> (n_heads * value_dim)."""
        if q.width != n_heads * latent.width or value_dim > latent.width:
            self._fail(f"latent attention: {n_heads} heads of {latent.width} do not make the {q.width} of q")
        cache = self._cache(Cache(1, latent.width, value_dim, latent=True))
        self._step("latent_store", (latent,), (), cache=cache)
        y = self._value(n_heads * value_dim, q.rows)
        self._step("latent_attention", (q,), (y,), cache=cache, n_heads=n_heads, scale=scale)
        return y

    def _cache(self, cache: Cache) -> int:
        self._plan.caches.append(cache)
        return len(self._plan.caches) - 1
