"""Chat templates: a conversation becomes the text, and the ids, that the model was trained on.

Templates are Jinja, written for Hugging Face's settings, and come with the model file, so they are not trusted: they run
in minijinja, with fuel, over read-only copies of plain data. `_check_source` says what that does not stop.

**No message can forge a turn.** `encode` finds control tokens only where no character of them came from a message. It
renders once more with marks, characters that occur nowhere else, put into the messages' strings, and a spelling with
a mark in it is not a token; then the marks are taken out and the text between control tokens is encoded in one piece,
so the ids are those of the rendered text. Where the marks stand, from the surest to the least intrusive:

1. after every character that begins some control token and before every one that ends some: whatever the template
   cuts, trims, joins or puts beside it, no token can begin or end in a message;
2. in every whole spelling, and in what a string ends or begins with if it could be part of one;
3. in every whole spelling.

The first that leaves the text as it was is taken. A template may look into messages (`'</think>' in content`), and so
behave otherwise once they are marked. Where even 3 changes the text, the template looks for control tokens in
messages, and does not get to see them. A string wholly inside a token is left alone: templates build `<|` + role + `|>`
themselves, so roles are the caller's to choose and not a user's. Keys of mappings are the caller's as well.
User-defined tokens, such as `<think>` in many models, are not control: they are parsed wherever they stand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from pyruntime.errors import TemplateError

if TYPE_CHECKING:
    from pyruntime.tokenizer import Tokenizer

# About one instruction or 70 bytes of text a unit: a thousand messages take 0.1 million, and a runaway loop 0.2 s.
_FUEL = 2_000_000
_MAX_OUTPUT = 4 << 20  # bytes
_MAX_SOURCE = 256 << 10  # characters; the longest templates in use have 30 thousand
_MAX_TAG = 2_000  # characters and strings in one tag
_MAX_DEPTH = 64  # of lists and mappings in messages and tools


class _List(list[Any]):
    """A list that a template can read only: list.extend would double memory without using fuel."""

    append = extend = insert = pop = remove = clear = sort = reverse = copy = None  # type: ignore[assignment]


class _Mapping(dict[str, Any]):
    """A dict that a template can read only."""

    update = setdefault = pop = popitem = clear = copy = fromkeys = None  # type: ignore[assignment]


class Prompt(NamedTuple):
    """What a model gets: the ids, and their text, BOS included."""

    text: str
    ids: list[int]


class ChatTemplate:
    """A chat template. Raises TemplateError, one line, for a source that does not parse or that is refused."""

    def __init__(self, source: str, bos_token: str = "", eos_token: str = "") -> None:
        from minijinja import Environment

        _check_source(source)
        self.source = source
        self._globals = {"bos_token": bos_token, "eos_token": eos_token}
        self._environment = Environment(trim_blocks=True, lstrip_blocks=True, fuel=_FUEL)
        self._environment.add_filter("tojson", _to_json)
        self._environment.add_global("raise_exception", _raise_exception)
        self._environment.add_global("strftime_now", lambda form: datetime.now().strftime(form))
        # Only a training mask needs generation tags; as conditions they keep the white space around them.
        source = re.sub(r"(\{%[-+]?\s*)generation(\s*[-+]?%\})", r"\1if true\2", source)
        source = re.sub(r"(\{%[-+]?\s*)endgeneration(\s*[-+]?%\})", r"\1endif\2", source)
        _guarded(self._environment.add_template, "chat", source)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **extra: Any,
    ) -> str:
        """The conversation as the model's text.

        `messages` are {"role": str, "content": str} with further JSON data as the template wants it; `tools` and
        `extra` are JSON data, too. Raises TypeError and ValueError that name the message, and TemplateError.
        """
        return self._render(self._context(messages, tools, add_generation_prompt, extra))

    def prompt(
        self,
        tokenizer: Tokenizer,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **extra: Any,
    ) -> Prompt:
        """The conversation as the model gets it. BOS is added if the tokenizer wants one and the template did not write it.

        Control tokens spelled in messages, tools or `extra` stay text. Errors are those of `render`.
        """
        context = self._context(messages, tools, add_generation_prompt, extra)
        mark = _unused_character(self.source, context)
        marked = self._render_marked(context, list(tokenizer.special_tokens), mark)
        prompt = Prompt(marked.replace(mark, ""), tokenizer.encode_with_mark(marked, mark))
        bos = tokenizer.bos_id
        if not tokenizer.add_bos or bos is None or prompt.ids[:1] == [bos]:
            return prompt
        return Prompt(tokenizer.token(bos) + prompt.text, [bos, *prompt.ids])

    def encode(
        self,
        tokenizer: Tokenizer,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **extra: Any,
    ) -> list[int]:
        """The ids of the conversation: those of `prompt`."""
        return self.prompt(tokenizer, messages, tools, add_generation_prompt, **extra).ids

    def _context(self, messages: Any, tools: Any, add_generation_prompt: bool, extra: dict[str, Any]) -> dict[str, Any]:
        context = _context(messages, tools, add_generation_prompt, extra)
        first = next(iter(context["messages"]), None)
        if first is not None and first["role"] == "system" and self._refuses_system:
            context["messages"] = _folded(context["messages"])
        return context

    @cached_property
    def _refuses_system(self) -> bool:
        """Whether it raises for a system message, and not for the same conversation without one."""
        user = {"role": "user", "content": "Hello."}
        return self._raises([{**user, "role": "system"}, user]) and not self._raises([user])

    def _raises(self, messages: list[dict[str, str]]) -> bool:
        try:
            self._render(_context(messages, None, True, {}))
        except TemplateError:
            return True
        return False

    def _render(self, context: dict[str, Any]) -> str:
        text: str = _guarded(self._environment.render_template, "chat", **self._globals | context)
        if len(text.encode()) > _MAX_OUTPUT:
            raise TemplateError(f"chat template: the text has more than {_MAX_OUTPUT >> 20} MB")
        return text

    def _render_marked(self, context: dict[str, Any], special: list[str], mark: str) -> str:
        text = marked = self._render(context)
        for places in (_ends_of_tokens, _parts_at_borders, _whole_spellings):
            with_marks = _map_strings(context, _marker(places(special), mark))
            if with_marks == context:
                return text
            try:
                marked = self._render(with_marks)
            except TemplateError:
                if places is _whole_spellings:
                    raise
                continue
            if marked.replace(mark, "") == text:
                break
        return marked


# Where the marks go: each returns a function from a string to positions in it.
_Places = Callable[[str], set[int]]


def _ends_of_tokens(special: list[str]) -> _Places:
    if not special:
        return lambda value: set()
    first = re.compile("[" + "".join({re.escape(token[0]) for token in special}) + "]")
    last = re.compile("[" + "".join({re.escape(token[-1]) for token in special}) + "]")
    return lambda value: {m.end() for m in first.finditer(value)} | {m.start() for m in last.finditer(value)}


def _whole_spellings(special: list[str]) -> _Places:
    def places(value: str) -> set[int]:
        found: set[int] = set()
        for token in special:
            start = value.find(token)
            while start >= 0:
                found |= {start, start + 1} if len(token) == 1 else {start + 1}
                start = value.find(token, start + 1)
        return found

    return places


def _parts_at_borders(special: list[str]) -> _Places:
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


def _unused_character(source: str, context: dict[str, Any]) -> str:
    """A character that is neither in the template nor in any string: a noncharacter, at need a private one."""
    used = set(source).union(*_strings(context))
    for code in (*range(0xFDD0, 0xFDF0), *range(0xF0000, 0xFFFFE)):
        if chr(code) not in used:
            return chr(code)
    raise ValueError("the messages use every private character of Unicode: none is left to mark them with")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    """A copy with every string but the keys changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return type(value)((key, _map_strings(item, change)) for key, item in value.items())
    if isinstance(value, list):
        return type(value)(_map_strings(item, change) for item in value)
    return value


def _context(messages: Any, tools: Any, add_generation_prompt: bool, extra: dict[str, Any]) -> dict[str, Any]:
    if isinstance(messages, str | bytes) or not isinstance(messages, Sequence):
        raise TypeError(f"messages must be a list of mappings, not {type(messages).__name__}")
    for i, message in enumerate(messages):
        _check_message(message, f"messages[{i}]")
    return {
        "messages": _plain([_with_thoughts(message) for message in messages], "messages"),
        "tools": _plain(tools, "tools"),
        "add_generation_prompt": bool(add_generation_prompt),
        **{name: _plain(value, name) for name, value in extra.items()},
    }


def _with_thoughts(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """An assistant's reasoning under the names that templates look for: most by the first, gpt-oss by the second."""
    names = ("reasoning_content", "thinking", "reasoning")
    thought = next((message[name] for name in names if isinstance(message.get(name), str)), None)
    return message if thought is None else {"reasoning_content": thought, "thinking": thought, **message}


def _folded(messages: list[dict[str, Any]]) -> _List:
    """The system message as the beginning of the first user message, or as one."""
    system, *rest = messages
    if rest and rest[0]["role"] == "user":
        rest[0] = _Mapping(rest[0] | {"content": f"{system['content'].strip()}\n\n{rest[0]['content']}"})
    else:
        rest.insert(0, _Mapping(system | {"role": "user"}))
    return _List(rest)


def _check_message(message: Any, where: str) -> None:
    if not isinstance(message, Mapping):
        raise TypeError(f"{where} must be a mapping with 'role' and 'content', not {type(message).__name__}")
    # An assistant's call of a tool has no content.
    needed = ("role",) if message.get("content") is None and message.get("tool_calls") else ("role", "content")
    for key in needed:
        if key not in message:
            raise ValueError(f"{where} has no {key!r}")
        if not isinstance(message[key], str):
            raise TypeError(f"{where}[{key!r}] must be str, not {type(message[key]).__name__}")
    if not message["role"]:
        raise ValueError(f"{where}['role'] is empty")


def _plain(value: Any, where: str, depth: int = 0) -> Any:
    """A read-only copy of JSON data."""
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
        return _Mapping((str(key), _plain(item, f"{where}[{key!r}]", depth + 1)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return _List(_plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value))
    raise TypeError(f"{where} must be JSON data, not {type(value).__name__}")


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Hugging Face's tojson: no HTML escapes."""
    if indent is not None and (not isinstance(indent, int) or indent > 16):
        raise TemplateError(f"chat template: tojson takes an indent of at most 16 spaces, not {indent!r:.40}")
    pair = tuple(separators) if separators is not None else None
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=pair, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise TemplateError(f"chat template: {_one_line(message)}")


def _one_line(text: Any) -> str:
    return " ".join(str(text).split())[:500]


def _guarded(call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Whatever goes wrong in a template, a panic of the library included, is a TemplateError."""
    try:
        return call(*args, **kwargs)
    except (TemplateError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise TemplateError(f"chat template: {_one_line(getattr(error, 'message', error))}") from None


_TAGS = re.compile(
    r"\{#.*?(?:#\}|\Z)"
    r"|\{%[-+]?\s*raw\s*[-+]?%\}.*?(?:\{%[-+]?\s*endraw\s*[-+]?%\}|\Z)"
    rf"""|\{{[{{%](?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^'"]){{0,{_MAX_TAG}}}?[%}}]\}}"""
    r"|(?P<endless>\{[{%])",
    re.DOTALL,
)


def _check_source(source: str) -> None:
    """Refuse what minijinja 3.1 does not survive, found by trying: fuel does not see it.

    A chain of ten thousand operators or elifs overflows its compiler's stack; str.format pads to any width, and the
    process aborts when memory does not suffice. Known and not refused, as no check of the source could tell: a loop
    that takes slices of slices ten thousand deep (the stack again), or adds a list to itself 60 times and searches it
    (no end in sight). Such a template can stop this process; it cannot read, write or run anything.
    """
    if not isinstance(source, str):
        raise TypeError(f"a chat template must be str, not {type(source).__name__}")
    if len(source) > _MAX_SOURCE:
        raise TemplateError(f"chat template: {len(source)} characters are more than {_MAX_SOURCE}")
    if any(match.lastgroup for match in _TAGS.finditer(source)):
        raise TemplateError(f"chat template: a tag is not closed within {_MAX_TAG} characters")
    if source.count("elif") > 1000:
        raise TemplateError("chat template: more than 1000 elif")
    if re.search(r"\.\s*format\s*\(", source):
        raise TemplateError("chat template: str.format is not supported; use the format filter or ~")
