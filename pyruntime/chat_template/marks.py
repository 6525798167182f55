"""No message can forge a turn: marks, put into the strings of a conversation, show what came out of them.

`render_marked` renders twice: plain, and with marks, characters that occur nowhere else, put into the messages' strings.
A spelling of a control token with a mark in it is not a token; then the marks are taken out and the text between
control tokens is encoded in one piece, so the ids are those of the rendered text. Where the marks stand, from the
surest to the least intrusive:

1. after every character that begins some control token and before every one that ends some: whatever the template
   cuts, trims, joins or puts beside it, no token can begin or end in a message;
2. in every whole spelling, and in what a string ends or begins with if it could be part of one;
3. in every whole spelling.

The first that leaves the text as it was is taken. A template may look into messages (`'</think>' in content`), and so
behave otherwise once they are marked. Where even 3 changes the text, the template looks for control tokens in
messages, and does not get to see them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from pyruntime.errors import TemplateError


def render_marked(
    render: Callable[[dict[str, Any]], str], context: dict[str, Any], special: Sequence[str], mark: str
) -> str:
    """The text of the conversation, with marks in what may not be a control token, one of `special`."""
    text = marked = render(context)
    for places in (_ends_of_tokens, _parts_at_borders, _whole_spellings):
        with_marks = _map_strings(context, _marker(places(special), mark))
        if with_marks == context:
            return text
        try:
            marked = render(with_marks)
        except TemplateError:
            if places is _whole_spellings:
                raise
            continue
        if marked.replace(mark, "") == text:
            break
    return marked


def unused_character(source: str, context: dict[str, Any]) -> str:
    """A character that is neither in the template nor in any string: a noncharacter, at need a private one."""
    used = set(source).union(*_strings(context))
    for code in (*range(0xFDD0, 0xFDF0), *range(0xF0000, 0xFFFFE)):
        if chr(code) not in used:
            return chr(code)
    raise ValueError("the messages use every private character of Unicode: none is left to mark them with")


# Where the marks go: each returns a function from a string to positions in it.
_Places = Callable[[str], set[int]]


def _ends_of_tokens(special: Sequence[str]) -> _Places:
    if not special:
        return lambda value: set()
    first = re.compile("[" + "".join({re.escape(token[0]) for token in special}) + "]")
    last = re.compile("[" + "".join({re.escape(token[-1]) for token in special}) + "]")
    return lambda value: {m.end() for m in first.finditer(value)} | {m.start() for m in last.finditer(value)}


def _whole_spellings(special: Sequence[str]) -> _Places:
    def places(value: str) -> set[int]:
        found: set[int] = set()
        for token in special:
            start = value.find(token)
            while start >= 0:
                found |= {start, start + 1} if len(token) == 1 else {start + 1}
                start = value.find(token, start + 1)
        return found

    return places


def _parts_at_borders(special: Sequence[str]) -> _Places:
    whole = _whole_spellings(special)

    def places(value: str) -> set[int]:
        found = whole(value)
        end = len(value.rstrip())  # templates trim
        start = len(value) - len(value.lstrip())
        for token in special:
            for n in range(1, len(token)):
                if value.endswith(token[:n], start, end):
                    found.add(end - n + 1)
                if value.startswith(token[-n:], start, end):
                    found.add(start + n - 1)
        return found

    return places


def _marker(places: _Places, mark: str) -> Callable[[str], str]:
    def change(value: str) -> str:
        cuts = [0, *sorted(places(value)), len(value)]
        return mark.join(value[start:end] for start, end in pairwise(cuts))

    return change


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for item in dict.values(value):
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    """A copy with every string but the keys changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return type(value)((key, _map_strings(item, change)) for key, item in dict.items(value))
    if isinstance(value, list):
        return type(value)(_map_strings(item, change) for item in value)
    return value
