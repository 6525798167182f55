"""Completion for bash, from 3.2 (of macOS) on: no associative arrays, no mapfile, compopt only where it is there."""

from __future__ import annotations

from pyruntime.completion import Option, Value, Verb, filled, quoted

_SCRIPT = """\
# Completion of pyruntime for bash. In ~/.bashrc: eval "$(pyruntime completion bash)"
_pyruntime_reply() {
    local IFS=$'\\n'
    COMPREPLY=($(
        case $1 in
            words) compgen -W "${2// /$IFS}" -- "$cur" ;;
            model | name) compgen -W "${2// /$IFS}" -- "$cur" ;;
        esac
        case $1 in
            model) compgen -f -X '!*.gguf' -- "$cur"; compgen -d -- "$cur" ;;
            file) compgen -f -- "$cur" ;;
            folder) compgen -d -- "$cur" ;;
        esac
    ))
    case $1 in
        model | file | folder) type compopt >/dev/null 2>&1 && compopt -o filenames ;;
    esac
}

_pyruntime_cached() {
    # No compgen -W, which would run what stands in $(...) of a file's name. Bash cuts words at colons (COMP_WORDBREAKS) and
    # replaces what is behind the last.
    local word=${COMP_LINE:0:COMP_POINT} name
    word=${word##* }
    while IFS= read -r name; do
        if [[ $name == "$word"* ]]; then
            printf -v name %q "$name"
            [[ $COMP_WORDBREAKS == *:* ]] && name=${name#"${word%"${word##*:}"}"}
            COMPREPLY+=("$name")
        fi
    done < <(command pyruntime models --names 2>/dev/null)
}

_pyruntime() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} i word verb= position=0 takes='' options
    COMPREPLY=()
    # --option=value is three words here, since = is one of COMP_WORDBREAKS.
    if [[ $cur == '=' ]]; then
        cur=
    elif [[ $prev == '=' ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $takes == *" $word "* ]]; then
            [[ ${COMP_WORDS[i + 1]} == '=' ]] && ((i++))
            ((i++))
        elif [[ $word != -* ]]; then
            if [[ -z $verb ]]; then
                verb=$word
                case $verb in
@TAKES@
                esac
            else
                ((position++))
            fi
        fi
    done
    if [[ $takes == *" $prev "* ]]; then
        case $verb$prev in
@VALUES@
        esac
        return
    fi
    if [[ $cur == -* ]]; then
        case $verb in
@OPTIONS@
        esac
        _pyruntime_reply words "$options"
        return
    fi
    case $verb:$position in
@POSITIONALS@
    esac
}
complete -F _pyruntime pyruntime
"""


def script(verbs: tuple[Verb, ...], common: tuple[Option, ...], models: tuple[str, ...]) -> str:
    takes, values, options, positionals = [], [], [f"'') options={quoted(_names(common))} ;;"], []
    positionals.append(f"':0') _pyruntime_reply words {quoted(' '.join(verb.name for verb in verbs))} ;;")
    for verb in verbs:
        with_value = [option for option in verb.options if option.value is not None]
        takes.append(f"{verb.name}) takes={quoted(f' {_names(with_value)} ')} ;;")
        options.append(f"{verb.name}) options={quoted(_names(verb.options))} ;;")
        for option in with_value:
            if option.value and option.value.kind != "text":
                pattern = " | ".join(verb.name + name for name in option.names)
                values.append(f"{pattern}) {_reply(option.value, models)} ;;")
        for i, value in enumerate(verb.values):
            if value.kind != "text":
                pattern = f"{verb.name}:*" if value.is_repeated else f"{verb.name}:{i}"
                positionals.append(f"{pattern}) {_reply(value, models)} ;;")
    parts = {"TAKES": (takes, 20), "VALUES": (values, 12), "OPTIONS": (options, 12), "POSITIONALS": (positionals, 8)}
    indented = {name: "\n".join(" " * n + line for line in lines) for name, (lines, n) in parts.items()}
    return filled(_SCRIPT, indented)


def _names(options: list[Option] | tuple[Option, ...]) -> str:
    return " ".join(name for option in options for name in option.names)


def _reply(value: Value, models: tuple[str, ...]) -> str:
    if value.kind == "cached":
        return "_pyruntime_cached"
    words = {"words": value.words, "model": models, "name": models}.get(value.kind, ())
    return f"_pyruntime_reply {value.kind} {quoted(' '.join(words))}"
