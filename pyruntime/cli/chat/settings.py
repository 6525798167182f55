"""What `/set` changes: how answers are sampled, and where they end."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from pyruntime.cli.options import UsageError
from pyruntime.cli.suggestion import closest
from pyruntime.sampling import Sampling

_LIMITS = ("max_tokens", "stop")  # what `/set` knows beside the fields of Sampling
NAMES = (*(field.name for field in dataclasses.fields(Sampling)), *_LIMITS)


@dataclasses.dataclass
class Settings:
    """Sampling, and the limits of an answer: max_tokens (None: up to the end of the context) and stop texts."""

    sampling: Sampling
    max_tokens: int | None = None
    stop: list[str] = dataclasses.field(default_factory=list)

    def set(self, name: str, text: str) -> None:
        """Gives a setting the value that `text` spells as JSON, or with "default" its default.

        UsageError, and nothing is changed, for an unknown name and for a value that the setting refuses.
        """
        name = name.replace("-", "_")
        if name not in NAMES:
            near = closest(name, NAMES)
            raise UsageError(f"/set {name}: there is no such setting{f'; is it {near}?' if near else ''}")
        value = self._default(name) if text == "default" else _parsed(name, text)
        if name == "max_tokens":
            self.max_tokens = _count(value)
        elif name == "stop":
            self.stop = _texts(value)
        else:
            self._set_sampling(name, value)

    def lines(self) -> list[str]:
        """Every setting with its value; those that are not the default are marked with a star."""
        width = max(map(len, NAMES))
        return [
            f"{'*' if self._value(name) != self._default(name) else ' '} {name:<{width}}  {_spelled(self._value(name))}"
            for name in NAMES
        ]

    def _set_sampling(self, name: str, value: Any) -> None:
        if name == "logit_bias" and isinstance(value, dict):
            value = {_token_id(key): bias for key, bias in value.items()}
        try:
            self.sampling = dataclasses.replace(self.sampling, **{name: value})
        except (ValueError, TypeError) as error:
            raise UsageError(f"/set: {error}") from None

    def _value(self, name: str) -> Any:
        return getattr(self if name in _LIMITS else self.sampling, name)

    @staticmethod
    def _default(name: str) -> Any:
        defaults: dict[str, Any] = {"max_tokens": None, "stop": []}
        return defaults[name] if name in defaults else getattr(Sampling(), name)


def _parsed(name: str, text: str) -> Any:
    try:
        value = json.loads("null" if text == "none" else text)
        json.dumps(value).encode()
    except (ValueError, RecursionError):
        raise UsageError(f"/set {name}: {text[:40]!r} is no number, no list of texts and not 'default'") from None
    return value


def _spelled(value: Any) -> str:
    return "none" if value is None else json.dumps(list(value) if isinstance(value, tuple) else value)


def _count(value: Any) -> int | None:
    if value is None or (type(value) is int and 0 < value < 1 << 31):
        return value
    raise UsageError(f"/set: max_tokens must be a whole number of at least 1, or none, not {value!r}")


def _texts(value: Any) -> list[str]:
    if isinstance(value, list) and all(isinstance(text, str) and text for text in value):
        return value
    raise UsageError(f'/set: stop must be a list of texts such as ["END"], not {value!r}')


def _token_id(key: str) -> int | str:
    """JSON's keys are texts; what is no number is for Sampling to refuse."""
    return int(key) if key.isdecimal() else key
