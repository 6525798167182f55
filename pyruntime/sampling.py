"""How a token is chosen from the logits: the parameters, checked, and the sampler that they make.

The order of the steps and the bits of the result are in docs/numerics.md, "Sampling".
"""

from __future__ import annotations

import dataclasses
import math
import operator
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from pyruntime._core import Sampler

_FLOAT32_MAX = float.fromhex("0x1.fffffep127")
_FLOAT32_TINY = float.fromhex("0x1p-149")
_MAX_LAST_N = 1 << 20  # the longest context there is


class SamplingOptions(TypedDict, total=False):
    """The fields of `Sampling` as keywords of the functions that sample."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    penalty_last_n: int
    logit_bias: Mapping[int, float] | None
    seed: int | None


@dataclasses.dataclass(frozen=True)
class Sampling:
    """The parameters of sampling. Raises ValueError, which names the parameter, for a value out of its range.

    temperature: 0 is greedy; otherwise logits are divided by it, after the three rules below have chosen.
    top_k: keep the k largest logits (0: all).
    top_p: keep the smallest set of largest probabilities that reaches this sum (1: all). Holtzman et al. 2019.
    min_p: keep probabilities of at least this share of the largest (0: all). Nguyen et al. 2024.
    repetition_penalty: divides logits > 0 of ids that occurred, multiplies the others (1: none). Keskar et al. 2019.
    presence_penalty, frequency_penalty: subtracted once for an id that occurred, and for each time it did.
    penalty_last_n: how many of the last ids the penalties look at, prompt included (0: none, -1: all).
    logit_bias: added to the logits of these ids; -inf bans an id.
    seed: 0 to 2**64 - 1; None draws one from the system for each generation, see `with_seed`.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    penalty_last_n: int = 64
    logit_bias: Mapping[int, float] | None = dataclasses.field(default=None, hash=False)
    seed: int | None = None

    def __post_init__(self) -> None:
        self._check("temperature", _real, lambda t: 0 <= t <= _FLOAT32_MAX, "a finite number >= 0")
        self._check("top_k", _integer, lambda k: 0 <= k < 1 << 63, "between 0 (off) and 2**63 - 1")
        self._check("top_p", _real, lambda p: 0 < p <= 1, "above 0 and at most 1 (1: off)")
        self._check("min_p", _real, lambda p: 0 <= p <= 1, "between 0 and 1 (0: off)")
        self._check("repetition_penalty", _real, lambda r: _FLOAT32_TINY <= r <= _FLOAT32_MAX, "a finite number > 0")
        self._check("presence_penalty", _real, _is_finite, "a finite number")
        self._check("frequency_penalty", _real, _is_finite, "a finite number")
        self._check("penalty_last_n", _integer, lambda n: -1 <= n <= _MAX_LAST_N, f"0 to {_MAX_LAST_N}, or -1 for all")
        if self.seed is not None:
            self._check("seed", _integer, lambda s: 0 <= s < 1 << 64, "between 0 and 2**64 - 1")
        if self.logit_bias is not None:
            self._check("logit_bias", _biases, _are_biases, "of ids >= 0, with values finite or -inf")

    def _check(self, name: str, convert: Any, accepts: Any, expected: str) -> None:
        given = getattr(self, name)
        try:
            value = convert(given)
        except (TypeError, ValueError, OverflowError) as e:
            raise ValueError(f"{name} must be {expected}, not {given!r}") from e
        if not accepts(value):
            raise ValueError(f"{name} must be {expected}, not {given!r}")
        object.__setattr__(self, name, value)

    def with_seed(self) -> Sampling:
        """Itself if it has a seed, otherwise a copy with a fresh one: what a generation starts from and reports."""
        return self if self.seed is not None else dataclasses.replace(self, seed=secrets.randbits(64))

    def sampler(self, n_vocab: int, stream: int = 0) -> Sampler:
        """The sampler of one sequence, the `stream`-th of its call. Its `.seed` is the one given or drawn."""
        from pyruntime import _core  # the extension is loaded by the first use, not by the import

        parameters = dataclasses.asdict(self.with_seed())
        parameters["logit_bias"] = parameters["logit_bias"] or {}
        return _core.Sampler(n_vocab, stream=stream, **parameters)


def _real(value: Any) -> float:
    if isinstance(value, str):  # float("0.5") would pass
        raise TypeError("a string")
    return float(value)


def _integer(value: Any) -> int:
    return operator.index(value)


def _is_finite(value: float) -> bool:
    return abs(value) <= _FLOAT32_MAX


def _biases(value: Mapping[Any, Any]) -> dict[int, float]:
    return {_integer(token): _real(bias) for token, bias in value.items()}


def _are_biases(biases: dict[int, float]) -> bool:
    return all(0 <= token < 1 << 31 and (_is_finite(b) or b == -math.inf) for token, b in biases.items())


def choose(sampling: Sampling | None, options: SamplingOptions) -> Sampling:
    """The parameters of a call that takes both forms; TypeError for both at once, or an unknown keyword."""
    if sampling is not None and options:
        raise TypeError(f"sampling was given, and {', '.join(sorted(options))} besides: give one or the other")
    if sampling is not None and not isinstance(sampling, Sampling):
        raise TypeError(f"sampling must be a Sampling, not {type(sampling).__name__}")
    return sampling if sampling is not None else Sampling(**options)
