"""What templates call: Hugging Face's functions, and Python's where minijinja's own differ."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NoReturn

from pyruntime.chat_template.limits import spend
from pyruntime.chat_template.values import List, Pair, extent, kept, n_bytes
from pyruntime.errors import TemplateError, printable

_MAX_WIDTH = 9_999  # characters that padding may ask for
_SPLITTING = ("rsplit", "split", "splitlines")
_PART = 96  # bytes of a string of Python's, and its place in a list
_MAX_LINE = 500  # characters of an error that are shown


def to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False,
    float__: bool = False,
) -> str:  # fmt: skip
    """Hugging Face's tojson: no HTML escapes. `float__`: the value was a float, though 1.0 comes from minijinja as 1."""
    if indent is not None and (not isinstance(indent, int) or indent > 16):
        raise TemplateError(f"chat template: tojson takes an indent of at most 16 spaces, not {indent!r:.40}")
    pair = tuple(separators) if separators is not None else None
    value = float(value) if float__ else kept(value)
    size, depth = extent([value])
    spend(size * (64 * (12 if ensure_ascii else 6) + (indent or 0) * depth))
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=pair, sort_keys=sort_keys)


def raise_exception(message: str) -> NoReturn:
    raise TemplateError(f"chat template: {one_line(message)}")


def strftime_now(form: str) -> str:
    spend(len(form))
    if len(form) > _MAX_WIDTH:
        raise TemplateError("chat template: a very long date format")
    return datetime.now().strftime(form)


def modulo(left: Any, right: Any) -> Any:
    """left % right, which formats if left is a string."""
    if not isinstance(left, str):
        return left % right
    _check_format(left, "%", right)
    return left % right


def percent_format(text: str, *args: Any, **kwargs: Any) -> str:
    """The filter of that name."""
    _check_format(text, "%", [*args, *kwargs.values()])
    return text % (kwargs or args)


def method(name: str, value: Any, *args: Any, **kwargs: Any) -> Any:
    """value.name(...), for the names in expression.METHODS."""
    if name == "format" and isinstance(value, str):
        _check_format(value, "{", [*args, *kwargs.values()])
        return _Formatter().format(value, *args, **kwargs)
    known = isinstance(value, str) or (isinstance(value, list) and name == "index")
    call = getattr(value, name, None) if known else None
    if call is None:
        raise TemplateError(f"chat template: {type(value).__name__} has no method {name}")
    if any(isinstance(arg, int) and arg > _MAX_WIDTH for arg in args) and not name.endswith(("split", "find", "index")):
        raise TemplateError(f"chat template: {name} to more than {_MAX_WIDTH} characters")
    spend(n_bytes(value) if isinstance(value, str) else 64 * len(value))
    if name in _SPLITTING:
        spend(_PART * _parts(value, args))
    made = call(*args, **kwargs)
    return Pair(made) if isinstance(made, tuple) else List(made) if isinstance(made, list) else made


def _parts(value: str, args: Sequence[Any]) -> int:
    """How many, at most, a string falls into."""
    if args and isinstance(args[0], str) and args[0]:
        return value.count(args[0]) + 1
    return len(value) // 2 + 1


def is_sequence(value: Any) -> bool:
    """The test of that name: jinja2's takes whatever has a length and items."""
    spend(n_bytes(value) if isinstance(value, str) else 0)
    return isinstance(value, str | Sequence | dict)


def _check_format(text: str, sign: str, values: Any) -> None:
    """A format may not be wider, nor its result longer, than a template needs: each field could hold all the values."""
    if sign == "%" and re.search(r"%[^%a-zA-Z]*(?:\*|\d{5})", text):
        raise TemplateError(f"chat template: a format wider than {_MAX_WIDTH} characters")
    spend(len(text) + text.count(sign) * len(str(kept(values))))


class _Formatter(string.Formatter):
    """str.format of values as they are: nothing is reached through attributes and items."""

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        if "." in field_name or "[" in field_name:
            raise TemplateError("chat template: str.format reaches into no value")
        return super().get_field(field_name, args, kwargs)

    def format_field(self, value: Any, format_spec: str) -> str:
        if re.search(r"\d{5}", format_spec):
            raise TemplateError(f"chat template: a format wider than {_MAX_WIDTH} characters")
        return str(super().format_field(value, format_spec))


def one_line(text: Any) -> str:
    """Of any text, however long: a word of each line of a message of 4 MB would be 100 MB."""
    return printable(" ".join(str(text)[: 8 * _MAX_LINE].split())[:_MAX_LINE])[:_MAX_LINE]
