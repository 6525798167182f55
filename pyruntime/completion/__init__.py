"""Completion scripts for shells, written from the command line's parsers; a module a shell."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pyruntime.cli import help_of

SHELLS = ("bash", "fish", "zsh")

# What a value can be: a GGUF file or a model's name, a model's name, the name of one in the cache, any file, a folder,
# one of `words`, anything else.
Kind = Literal["model", "name", "cached", "file", "folder", "words", "text"]
_BY_METAVAR: dict[str, Kind] = {"MODEL": "model", "NAME": "name", "FILE": "file", "PATH": "file", "FOLDER": "folder"}


@dataclass(frozen=True)
class Value:
    """A positional argument, or what follows an option."""

    metavar: str
    kind: Kind
    words: tuple[str, ...] = ()
    is_repeated: bool = False


@dataclass(frozen=True)
class Option:
    names: tuple[str, ...]
    help: str
    value: Value | None  # None: a flag
    is_repeated: bool


@dataclass(frozen=True)
class Verb:
    name: str
    help: str
    options: tuple[Option, ...]
    values: tuple[Value, ...]  # its positional arguments

    @staticmethod
    def of(name: str, help: str, parser: argparse.ArgumentParser) -> Verb:
        actions = [action for action in parser._actions if action.help is not argparse.SUPPRESS]
        options = tuple(_option(action, parser) for action in actions if action.option_strings)
        values = [_value(action) for action in actions if not action.option_strings]
        if name == "rm":  # it takes what is there, and only that
            values = [replace(value, kind="cached") for value in values]
        return Verb(name, help, options, tuple(values))


def _option(action: argparse.Action, parser: argparse.ArgumentParser) -> Option:
    is_repeated = isinstance(action, argparse._AppendAction)
    value = None if action.nargs == 0 else _value(action)
    return Option(tuple(action.option_strings), help_of(action, parser), value, is_repeated)


def _value(action: argparse.Action) -> Value:
    metavar = str(action.metavar or action.dest.upper())
    is_repeated = action.nargs in ("*", "+")
    if action.choices is not None:
        return Value(metavar, "words", tuple(map(str, action.choices)), is_repeated)
    return Value(metavar, _BY_METAVAR.get(metavar, "text"), (), is_repeated)


def script(shell: str, verbs: Iterable[Verb], common: tuple[Option, ...], models: Iterable[str]) -> str:
    """What the shell reads. `common`: the flags that may stand before a verb; `models`: names of the catalogue."""
    text: str = importlib.import_module(f"{__name__}.{shell}").script(tuple(verbs), common, tuple(models))
    return text


def filled(template: str, parts: Mapping[str, str]) -> str:
    """The template with `@NAME@` replaced by each part."""
    for name, part in parts.items():
        template = template.replace(f"@{name}@", part)
    return template


def quoted(text: str) -> str:
    """A word in single quotes, as bash and zsh read it."""
    return "'" + text.replace("'", "'\\''") + "'"
