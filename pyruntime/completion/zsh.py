"""Completion for zsh, by its own _arguments."""

from __future__ import annotations

import re

from pyruntime.completion import Option, Value, Verb, filled, quoted

_SCRIPT = """\
#compdef pyruntime
# Completion of pyruntime for zsh. In ~/.zshrc, after compinit: eval "$(pyruntime completion zsh)"
_pyruntime_names() {
    local -a names=(@MODELS@)
    compadd -a names
}

_pyruntime_cached() {
    local -a names=(${(f)"$(command pyruntime models --names 2>/dev/null)"})
    compadd -a names
}

_pyruntime_models() {
    _alternative 'models:model:_pyruntime_names' 'files:GGUF file:_files -g "*.gguf(-.)"'
}

_pyruntime() {
    local curcontext=$curcontext state line
    typeset -A opt_args
    local -a verbs=(
@VERBS@
    )
    _arguments -C \\
@COMMON@
        '1:verb:->verb' '*::argument:->arguments'
    case $state in
        verb) _describe verb verbs ;;
        arguments)
            case $words[1] in
@ARGUMENTS@
            esac
            ;;
    esac
}

if [ "$funcstack[1]" = _pyruntime ]; then
    _pyruntime "$@"
else
    compdef _pyruntime pyruntime
fi
"""


def script(verbs: tuple[Verb, ...], common: tuple[Option, ...], models: tuple[str, ...]) -> str:
    arguments = []
    for verb in verbs:
        specs = [spec for option in verb.options for spec in _option(option)]
        specs += [f"{'*' if value.is_repeated else i}:{_action(value)}" for i, value in enumerate(verb.values, 1)]
        lines = " \\\n".join(" " * 24 + quoted(spec) for spec in specs)
        arguments.append(f"{' ' * 16}{verb.name})\n{' ' * 20}_arguments \\\n{lines}\n{' ' * 20};;")
    parts = {
        "MODELS": " ".join(map(quoted, models)),
        "VERBS": "\n".join(f"        {quoted(f'{verb.name}:{verb.help}')}" for verb in verbs),
        "COMMON": "\n".join(f"        {quoted(spec)} \\" for option in common for spec in _option(option)),
        "ARGUMENTS": "\n".join(arguments),
    }
    return filled(_SCRIPT, parts)


def _option(option: Option) -> list[str]:
    """A spec for each spelling; one that may be given once excludes the others."""
    excluded = "" if option.is_repeated else f"({' '.join(option.names)})"
    star = "*" if option.is_repeated else ""
    value = "" if option.value is None else f":{_action(option.value)}"
    equals = "" if option.value is None else "="
    return [
        f"{excluded}{star}{name}{equals if name.startswith('--') else ''}[{_escaped(option.help)}]{value}"
        for name in option.names
    ]


def _action(value: Value) -> str:
    actions = {
        "model": "_pyruntime_models",
        "name": "_pyruntime_names",
        "cached": "_pyruntime_cached",
        "file": "_files",
        "folder": "_files -/",
        "words": f"({' '.join(value.words)})",
        "text": "",
    }
    return f"{_escaped(value.metavar)}:{actions[value.kind]}"


def _escaped(text: str) -> str:
    return re.sub(r"([\[\]:\\])", r"\\\1", text)
