"""How a token is chosen from the logits: the parameters, checked, and the sampler that they make.

The order of the steps and the bits of the result are in docs/numerics.md, "Sampling".
"""

from __future__ import annotations

import dataclasses
import math
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from pyruntime._core import Sampler
    from pyruntime.tokenizer import Tokenizer

_FLOAT32_MAX = float.fromhex("0x1.fffffep127")
_FLOAT32_TINY = float.fromhex("0x1p-149")
_MAX_LAST_N = 1 << 20  # the longest context there is


class SamplingOptions(TypedDict, total=False):
    """The fields of `Sampling` as keywords of the functions that sample."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    typical_p: float
    top_n_sigma: float
    xtc_probability: float
    xtc_threshold: float
    dynatemp_range: float
    dynatemp_exponent: float
    mirostat: int
    mirostat_tau: float
    mirostat_eta: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    penalty_last_n: int
    dry_multiplier: float
    dry_base: float
    dry_allowed_length: int
    dry_penalty_last_n: int
    dry_sequence_breakers: Sequence[str]
    logit_bias: Mapping[int, float] | None
    seed: int | None


@dataclasses.dataclass(frozen=True)
class Sampling:
    """The parameters of sampling. Raises ValueError, which names the parameter, for a value out of its range.

    The steps follow each other as they stand here, biases and penalties first; temperature is applied last.

    logit_bias: added to the logits of these ids; -inf bans an id.
    repetition_penalty: divides logits > 0 of ids that occurred, multiplies the others (1: none). Keskar et al. 2019.
    presence_penalty, frequency_penalty: subtracted once for an id that occurred, and for each time it did.
    penalty_last_n: how many of the last ids these penalties look at, prompt included (0: none, -1: all).
    dry_multiplier: DRY, "don't repeat yourself" (0: off): a token that would prolong a repetition of the text's end, n ids
        long so far, loses multiplier * dry_base ** (n - dry_allowed_length), from dry_allowed_length on.
    dry_penalty_last_n: as penalty_last_n. dry_sequence_breakers: texts that no repetition reaches across.
    top_n_sigma: keep logits within so many standard deviations of the largest (0: all). Tang et al. 2024.
    top_k: keep the k largest logits (0: all).
    typical_p: keep the smallest set of tokens nearest to the entropy that reaches this sum (1: all). Meister et al. 2022.
    top_p: keep the smallest set of largest probabilities that reaches this sum (1: all). Holtzman et al. 2019.
    min_p: keep probabilities of at least this share of the largest (0: all). Nguyen et al. 2024.
    xtc_probability: XTC, "exclude top choices": how often (0: never) all tokens but the last of those whose probability is
        at least xtc_threshold are dropped.
    temperature: 0 is greedy; otherwise logits are divided by it. dynatemp_range: it varies by so much up and down with the
        entropy of what is left (0: not at all), which is taken over its largest value, to the power dynatemp_exponent.
    mirostat: 1 or 2 (0: off) takes the place of the rules from top_n_sigma to xtc: the surprise of the tokens is kept near
        mirostat_tau bits, learning at the rate mirostat_eta. It starts anew with each generation. Basu et al. 2021.
    seed: 0 to 2**64 - 1; None draws one from the system for each generation, see `with_seed`.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    top_n_sigma: float = 0.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    penalty_last_n: int = 64
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1
    dry_sequence_breakers: Sequence[str] = ("\n", ":", '"', "*")
    logit_bias: Mapping[int, float] | None = dataclasses.field(default=None, hash=False)
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, convert, accepts, expected in _CHECKS:
            self._check(name, convert, accepts, expected)
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
        return self if self.seed is not None else dataclasses.replace(self, seed=int.from_bytes(os.urandom(8)))

    def sampler(
        self, n_vocab: int, stream: int = 0, tokenizer: Tokenizer | None = None, top_logprobs: int | None = None
    ) -> Sampler:
        """The sampler of one sequence, the `stream`-th of its call. Its `.seed` is the one given or drawn.

        tokenizer: says in which tokens DRY's sequence breakers stand; ValueError if they are needed without one.
        top_logprobs: see `Model.generate`, logprobs.
        """
        from pyruntime import _core  # the extension is loaded by the first use, not by the import
        from pyruntime.dry_breakers import breaker_sequences

        parameters = dataclasses.asdict(self.with_seed())
        parameters["logit_bias"] = parameters["logit_bias"] or {}
        breakers = parameters.pop("dry_sequence_breakers") if self.dry_multiplier > 0 else ()
        if breakers and tokenizer is None:
            raise ValueError("dry_sequence_breakers need a tokenizer; without one there can be none")
        parameters.pop("dry_sequence_breakers", None)
        parameters["dry_breakers"] = breaker_sequences(tokenizer, breakers) if breakers and tokenizer else []
        return _core.Sampler(n_vocab, stream=stream, top_logprobs=top_logprobs, **parameters)


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


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):  # its characters would be taken for the texts
        raise TypeError("a string")
    return tuple(value)


def _are_texts(texts: tuple[Any, ...]) -> bool:
    return all(isinstance(text, str) and text for text in texts)


_Check = tuple[
    str, Callable[[Any], Any], Callable[[Any], bool], str
]  # name, conversion, what is accepted, what is said
_LAST_N = (_integer, lambda n: -1 <= n <= _MAX_LAST_N, f"0 to {_MAX_LAST_N}, or -1 for all")
_POSITIVE = (_real, lambda x: 0 <= x <= _FLOAT32_MAX, "a finite number >= 0")
_SHARE = (_real, lambda p: 0 <= p <= 1, "between 0 and 1")
_MASS = (_real, lambda p: 0 < p <= 1, "above 0 and at most 1 (1: off)")

_CHECKS: tuple[_Check, ...] = (
    ("temperature", *_POSITIVE),
    ("top_k", _integer, lambda k: 0 <= k < 1 << 63, "between 0 (off) and 2**63 - 1"),
    ("top_p", *_MASS),
    ("min_p", *_SHARE),
    ("typical_p", *_MASS),
    ("top_n_sigma", *_POSITIVE),
    ("xtc_probability", *_SHARE),
    ("xtc_threshold", *_SHARE),
    ("dynatemp_range", *_POSITIVE),
    ("dynatemp_exponent", _real, lambda x: 0 < x <= _FLOAT32_MAX, "a finite number > 0"),
    ("mirostat", _integer, lambda version: version in (0, 1, 2), "0 (off), 1 or 2"),
    ("mirostat_tau", *_POSITIVE),
    ("mirostat_eta", *_SHARE),
    ("repetition_penalty", _real, lambda r: _FLOAT32_TINY <= r <= _FLOAT32_MAX, "a finite number > 0"),
    ("presence_penalty", _real, _is_finite, "a finite number"),
    ("frequency_penalty", _real, _is_finite, "a finite number"),
    ("penalty_last_n", *_LAST_N),
    ("dry_multiplier", *_POSITIVE),
    ("dry_base", _real, lambda x: 1 <= x <= _FLOAT32_MAX, "a finite number >= 1"),
    ("dry_allowed_length", _integer, lambda n: 1 <= n <= _MAX_LAST_N, f"1 to {_MAX_LAST_N}"),
    ("dry_penalty_last_n", *_LAST_N),
    ("dry_sequence_breakers", _texts, _are_texts, "a list of texts that are not empty"),
)


def choose(sampling: Sampling | None, options: SamplingOptions) -> Sampling:
    """The parameters of a call that takes both forms; TypeError for both at once, or an unknown keyword."""
    if sampling is not None and options:
        raise TypeError(f"sampling was given, and {', '.join(sorted(options))} besides: give one or the other")
    if sampling is not None and not isinstance(sampling, Sampling):
        raise TypeError(f"sampling must be a Sampling, not {type(sampling).__name__}")
    return sampling if sampling is not None else Sampling(**options)
