"""Completion for fish, by its own `complete`."""

from __future__ import annotations

from pyruntime.completion import Option, Value, Verb

_HEAD = """\
# Completion of pyruntime for fish. In ~/.config/fish/config.fish: pyruntime completion fish | source
function __pyruntime_verb
    # The first word that is no flag, since no flag before it takes a value.
    for word in (commandline -opc)[2..-1]
        if not string match -q -- '-*' $word
            echo $word
            return
        end
    end
    return 1
end

function __pyruntime_is
    test "$(__pyruntime_verb)" = "$argv[1]"
end

function __pyruntime_at
    # Whether the cursor is on positional argument number $argv[2] of verb $argv[1]; the rest are options with a value.
    __pyruntime_is $argv[1]; or return 1
    set -l n -1
    set -l is_value 0
    for word in (commandline -opc)[2..-1]
        if test $is_value = 1
            set is_value 0
        else if contains -- $word $argv[3..-1]
            set is_value 1
        else if not string match -q -- '-*' $word
            set n (math $n + 1)
        end
    end
    test "$argv[2]" = '*'; or test "$n" = "$argv[2]"
end

function __pyruntime_gguf
    __fish_complete_suffix .gguf | string match -r '.*(?:\\.gguf|/)(?:\\t.*)?$'
end

complete -c pyruntime -f
"""


def script(verbs: tuple[Verb, ...], common: tuple[Option, ...], models: tuple[str, ...]) -> str:
    lines = [_option("not __pyruntime_verb >/dev/null", option, models) for option in common]
    lines += [
        f"complete -c pyruntime -n 'not __pyruntime_verb >/dev/null' -a {verb.name} -d {_quoted(verb.help)}"
        for verb in verbs
    ]
    for verb in verbs:
        lines += [_option(f"__pyruntime_is {verb.name}", option, models) for option in verb.options]
        takes = " ".join(name for option in verb.options if option.value for name in option.names)
        for i, value in enumerate(verb.values):
            at = '"*"' if value.is_repeated else str(i)
            if arguments := _arguments(value, models):
                lines.append(
                    f"complete -c pyruntime -n {_quoted(f'__pyruntime_at {verb.name} {at} {takes}')} {arguments}"
                )
    return _HEAD + "\n".join(lines) + "\n"


def _option(condition: str, option: Option, models: tuple[str, ...]) -> str:
    names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
    takes = "-r" if option.value and option.value.kind == "file" else "-x"
    value = "" if option.value is None else f" {takes} {_arguments(option.value, models)}".rstrip()
    return f"complete -c pyruntime -n {_quoted(condition)} {names}{value} -d {_quoted(option.help)}"


def _arguments(value: Value, models: tuple[str, ...]) -> str:
    """What to offer; -F, which files alone need, undoes the -f that holds for all."""
    offered = {
        "model": f"-a {_quoted(' '.join([*models, '(__pyruntime_gguf)']))}",
        "name": f"-a {_quoted(' '.join(models))}",
        "cached": "-a '(command pyruntime models --names 2>/dev/null)'",
        "file": "-F",
        "folder": "-a '(__fish_complete_directories)'",
        "words": f"-a {_quoted(' '.join(value.words))}",
        "text": "",
    }
    return offered[value.kind]


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
