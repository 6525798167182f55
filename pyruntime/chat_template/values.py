"""Plain data that a template may read and not change, of a size that is known.

minijinja's fuel does not see how large a list of lists is: [x, x] sixty times over is 2^60 long, and a slice of a
slice ten thousand deep overflows its stack. So what a template binds to a name is kept as one of these, flat.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pyruntime.errors import TemplateError

_MAX_DEPTH = 64  # of lists and mappings in messages and tools
_MAX_KEPT_DEPTH = 2 * _MAX_DEPTH
_MAX_SIZE = 100_000  # items, with those of their items, of what a template makes out of nothing
_MAX_COPIES = 4  # and of what it makes out of the conversation
_MAX_CHARACTERS = 64 << 20  # of text that Python makes
_MAX_SECONDS = 1.0  # of this thread's work on one rendering, asked where Python is called: fuel bounds the rest


class _Budget:
    """What one rendering may still take."""

    def __init__(self, variables: Iterable[Any]) -> None:
        self.deadline = time.thread_time() + _MAX_SECONDS
        self.size = _MAX_SIZE + _MAX_COPIES * _extent(variables)[0]
        self.characters = _MAX_CHARACTERS


_budget: ContextVar[_Budget] = ContextVar("_budget")


@contextmanager
def limits(variables: Mapping[str, Any]) -> Iterator[None]:
    """What Python does for a rendering of these variables is limited."""
    token = _budget.set(_Budget(variables.values()))
    try:
        yield
    finally:
        _budget.reset(token)


def spend(characters: int) -> None:
    """Before Python makes a text of this length for a template; TemplateError if it has no time or room left."""
    budget = _budget.get()
    budget.characters -= characters
    if time.thread_time() > budget.deadline:
        raise TemplateError(f"chat template: it takes more than {_MAX_SECONDS:.0f} s")
    if budget.characters < 0:
        raise TemplateError(f"chat template: more than {_MAX_CHARACTERS >> 20} million characters of text")


class List(list[Any]):
    """A list that a template can read only: list.extend would double memory without using fuel."""

    append = extend = insert = pop = remove = clear = sort = reverse = copy = None  # type: ignore[assignment]

    def __init__(self, items: Iterable[Any] = ()) -> None:
        super().__init__(items)
        self.size, self.depth = _extent(self)


class Dict(dict[str, Any]):
    """A dict that a template can read only."""

    update = setdefault = pop = popitem = clear = copy = fromkeys = None  # type: ignore[assignment]

    def __init__(self, items: Any = ()) -> None:
        super().__init__(items)
        self.size, self.depth = _extent(self.values())


def _extent(items: Iterable[Any]) -> tuple[int, int]:
    """Items, with those of their items, and levels. 64 characters of a string count as one."""
    size, depth = 1, 0
    for item in items:
        if isinstance(item, List | Dict):
            size, depth = size + item.size, max(depth, item.depth)
        elif isinstance(item, tuple):
            inner = _extent(item)
            size, depth = size + inner[0], max(depth, inner[1])
        else:
            size += 1 + (len(item) >> 6 if isinstance(item, str) else 0)
    return size, depth + 1


def plain(value: Any, where: str, depth: int = 0) -> Any:
    """A read-only copy of JSON data; TypeError and ValueError say where something is none."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"{where[:80]} is nested more than {_MAX_DEPTH} deep")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{where} has a lone surrogate at position {error.start}") from None
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{where} has a key of type {type(key).__name__}, not str")
        return Dict((str(key), plain(item, f"{where}[{key!r}]", depth + 1)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return List(plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value))
    raise TypeError(f"{where} must be JSON data, not {type(value).__name__}")


def kept(value: Any) -> Any:
    """What a template made, as its own copy. TemplateError if it is too large or too deep, or the time is up."""
    spend(0)
    max_size = _budget.get().size
    copy = _kept(value, 0)
    size, depth = _extent([copy])
    if size > max_size or depth > _MAX_KEPT_DEPTH:
        raise TemplateError(f"chat template: a list of more than {max_size} items, or {_MAX_KEPT_DEPTH} deep")
    return copy


def _kept(value: Any, depth: int) -> Any:
    if depth > _MAX_KEPT_DEPTH:
        raise TemplateError(f"chat template: a list nested more than {_MAX_KEPT_DEPTH} deep")
    if isinstance(value, List | Dict):
        return value
    if isinstance(value, tuple):
        return tuple(_kept(item, depth + 1) for item in value)
    if isinstance(value, list):
        return List(_kept(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return Dict((key, _kept(item, depth + 1)) for key, item in value.items())
    return value
