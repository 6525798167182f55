"""The generated part of docs/cli.md, from the parsers' own actions: format_help() differs between versions of Python."""

from __future__ import annotations

import argparse
import inspect
from types import ModuleType

from table import cell

from pyruntime import cli


def text() -> str:
    """A section for the flags before a verb, and one for each verb."""
    verbs = cli.find_verbs()
    parts = [f"## pyruntime\n\n{_tables(cli.main_parser(verbs))}"]
    parts += [_verb(name, module) for name, module in verbs.items()]
    return "\n\n".join(parts)


def _verb(name: str, module: ModuleType) -> str:
    parser = cli.verb_parser(name, module)
    positionals = [spelling(action) for action in parser._get_positional_actions()]
    usage = " ".join([parser.prog, *positionals, "[options]"])
    description = inspect.cleandoc(module.__doc__ or "")
    return f"## {parser.prog}\n\n    {usage}\n\n{description}\n\n{_tables(parser)}"


def _tables(parser: argparse.ArgumentParser) -> str:
    """One table for each group of arguments that has any."""
    tables = []
    for group in parser._action_groups:
        rows = []
        for action in group._group_actions:
            if isinstance(action, argparse._SubParsersAction):
                rows += [(choice.dest, choice.help or "") for choice in action._choices_actions]
            elif action.help is not argparse.SUPPRESS:
                rows.append((spelling(action), help_of(action, parser)))
        if rows:
            lines = [f"| `{cell(left)}` | {cell(right)} |" for left, right in rows]
            tables.append("\n".join([f"| {group.title} | |", "|---|---|", *lines]))
    return "\n\n".join(tables)


def spelling(action: argparse.Action) -> str:
    """How an argument is written: `--kv-type {f16,f32,q8_0}`, `MODEL`, `[PROMPT]`."""
    if action.choices is not None and action.metavar is None:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    else:
        value = str(action.metavar or action.dest.upper())
    if action.option_strings:
        names = ", ".join(action.option_strings)
        return names if action.nargs == 0 else f"{names} {value}"
    return {"?": f"[{value}]", "*": f"[{value} ...]", "+": f"{value} [{value} ...]"}.get(str(action.nargs), value)


def help_of(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    """The help text, and whether the argument may be repeated."""
    repeated = " (may be given more than once)" if isinstance(action, argparse._AppendAction) else ""
    return cli.help_of(action, parser) + repeated
