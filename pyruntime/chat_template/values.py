"""Plain data that a template may read and not change, of a size that is known, and read at a price.

minijinja's fuel does not see how large a list of lists is: [x, x] sixty times over is 2^60 long, and a slice of a
slice ten thousand deep overflows its stack. So what a template binds to a name is kept as one of these, flat. Nor does
it see that each mention of a message's text copies it: long strings are paid for where they are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from pyruntime.chat_template.limits import Exceeded, current, spend

LONG = 1024  # characters: a string that is worth counting
_MAX_DEPTH = 64  # of lists and mappings in messages and tools
_MAX_KEPT_DEPTH = 2 * _MAX_DEPTH
_TOO_DEEP = f"chat template: a list nested more than {_MAX_KEPT_DEPTH} deep"
_PRINTED = 16  # a byte of a printed list costs minijinja's fuel as much as 16 of a string


def n_bytes(text: str) -> int:
    """At most so many, in UTF-8 and in Python."""
    return len(text) if text.isascii() else 4 * len(text)


def _paid(value: Any) -> Any:
    if isinstance(value, str) and len(value) > LONG:
        spend(n_bytes(value))
    return value


class _Sized:
    """What List and Dict share: comparing and showing them is paid for by what they hold."""

    _size: int

    def __eq__(self, other: object) -> bool:
        spend(64 * self._size)
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return super().__repr__() if _printable(self._size) else ""


class List(_Sized, list[Any]):
    """A list that a template can read only: list.extend would double memory without using fuel."""

    append = extend = insert = pop = remove = clear = sort = reverse = copy = None  # type: ignore[assignment]

    def __init__(self, items: Iterable[Any] = ()) -> None:
        super().__init__(items)
        self._size, self._depth = extent(self)

    def __getitem__(self, key: Any) -> Any:
        return _paid(super().__getitem__(key))


class Pair(tuple[Any, ...]):
    """A tuple that came out of Python."""

    def __getitem__(self, key: Any) -> Any:
        return _paid(super().__getitem__(key))


class Dict(_Sized, dict[str, Any]):
    """A dict that a template can read only."""

    update = setdefault = pop = popitem = clear = fromkeys = copy = None  # type: ignore[assignment]

    def __init__(self, items: Any = ()) -> None:
        super().__init__(items)
        self._size, self._depth = extent(super().values())

    def __getitem__(self, key: str) -> Any:
        return _paid(super().__getitem__(key))

    def __iter__(self) -> Iterator[str]:  # minijinja copies all keys to know how many there are
        spend(sum(map(n_bytes, self.keys())))
        return super().__iter__()

    def get(self, key: str, default: Any = None) -> Any:
        return _paid(super().get(key, default))

    def items(self) -> View:  # type: ignore[override]
        return View("dict_items", map(Pair, super().items()))

    def values(self) -> View:  # type: ignore[override]
        return View("dict_values", super().values())


class View:
    """dict.items() and dict.values(), each item paid for when it is read."""

    def __init__(self, name: str, items: Iterable[Any]) -> None:
        self._name = name
        self._items = List(items)
        self._size, self._depth = self._items._size, self._items._depth

    def __iter__(self) -> Iterator[Any]:
        return map(_paid, iter(self._items))

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"{self._name}({self._items!r})"


def _printable(size: int) -> bool:
    """Whether so much may be printed. An exception would get lost here; the budget remembers that it was refused."""
    opened = current()
    if opened is None:
        return True
    if not opened.exceeded:
        with suppress(Exceeded):
            opened.spend(64 * _PRINTED * size)
    return not opened.exceeded


def extent(items: Iterable[Any]) -> tuple[int, int]:
    """The size, items with those of their items, 64 characters of a string counting as one; and the levels."""
    size, depth = 1, 0
    for item in items:
        if isinstance(item, List | Dict | View):
            size, depth = size + item._size, max(depth, item._depth)
        elif isinstance(item, tuple):
            inner = extent(item)
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
    """What a template made, as its own copy. Exceeded if it is too large or too deep, or the time is up."""
    spend(0)
    copy = _kept(value, 0)
    size, depth = extent([copy])
    opened = current()
    if opened is not None and size > opened.limits.size:
        opened.refuse(f"chat template: a list of more than {opened.limits.size} items")
    if depth > _MAX_KEPT_DEPTH:
        raise Exceeded(_TOO_DEEP)
    return copy


def _kept(value: Any, depth: int) -> Any:
    if depth > _MAX_KEPT_DEPTH:
        raise Exceeded(_TOO_DEEP)
    if isinstance(value, List | Dict | Pair | View):
        return value
    if isinstance(value, str):
        spend(64 + n_bytes(value))
        return value
    if isinstance(value, tuple):
        spend(64 * len(value))
        return Pair(_kept(item, depth + 1) for item in value)
    if isinstance(value, list):
        spend(64 * len(value))
        return List(_kept(item, depth + 1) for item in value)
    if isinstance(value, dict):
        spend(128 * len(value))
        return Dict((key, _kept(item, depth + 1)) for key, item in value.items())
    return value
