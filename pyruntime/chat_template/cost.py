"""What a template could cost, told by its tokens: whether it is plain, and where fuel does not see the time pass.

A plain template has what the templates in use need and minijinja's fuel pays for, nothing else. What is not listed here
may be as harmless; it is rendered in a process of its own (apart.py), and nobody has to find out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

MAX_PLAIN = 64 << 10  # characters of source: the longest templates in use have 40 thousand
MAX_PLAIN_ELIFS = 150  # minijinja recurses over them, some 1 KB of stack each; those in use have up to 60
_MAX_WORDS = 150  # of a tag; those in use have up to 37, and 150 mention 5,000 messages some 70 times in 0.3 s
_MAX_HELD = 4  # variables that a tag puts into lists, mappings and arguments: each may be the longest text there is

_VERBS = frozenset(
    [
        *("", "break", "continue", "elif", "else", "endfor", "endgeneration", "endif", "endmacro", "endset", "for"),
        *("generation", "if", "macro", "raw", "set"),
    ]
)  # "" prints
_FILTERS = frozenset(
    [
        *("abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "indent", "int", "items"),
        *("join", "last", "length", "list", "lower", "replace", "reverse", "round", "safe", "sort", "string"),
        *("title", "tojson", "trim", "unique", "upper"),
    ]
)
_FOR_EACH = frozenset(["map", "reject", "rejectattr", "select", "selectattr"])  # they apply a filter or test
_COMPARING = frozenset(["eq", "equalto", "ge", "greaterthan", "gt", "in", "le", "lessthan", "lt", "ne", "sameas"])
_TESTS = _COMPARING | frozenset(
    [
        *("boolean", "defined", "divisibleby", "even", "false", "float", "integer", "iterable", "mapping", "none"),
        *("number", "odd", "sequence", "string", "true", "undefined"),
    ]
)
_METHODS = frozenset(
    [
        *("capitalize", "casefold", "endswith", "find", "format", "get", "isalnum", "isalpha", "isdigit", "islower"),
        *("isspace", "isupper", "items", "join", "keys", "ljust", "lower", "lstrip", "partition", "removeprefix"),
        *("removesuffix", "replace", "rfind", "rjust", "rpartition", "rsplit", "rstrip", "split", "splitlines"),
        *("startswith", "strip", "swapcase", "title", "upper", "values", "zfill"),
    ]
)
_FUNCTIONS = frozenset(["dict", "namespace", "raise_exception", "range", "strftime_now"])
_WORDS = frozenset(["and", "or", "not", "in", "is", "if", "elif", "else", "for", "set", "macro"])
_CONSTANTS = frozenset(["true", "false", "none", "True", "False", "None"])
_COMPARISONS = frozenset(["==", "!=", "<", ">", "<=", ">=", "in"])
_ENDS = frozenset(["", "and", "or", "if", "else", ")", "]", "}", ",", ":"])  # no operand goes on after these
_STARTS = frozenset(["", "and", "or", "not", "if", "elif", "else", "(", "[", "{", ",", ":", "="])


def is_plain(words: Sequence[str], verb: str, macros: frozenset[str]) -> bool:
    """Whether a tag is; `words` are all its tokens, `verb` is the first of a statement. `macros` of the template."""
    functions = _FUNCTIONS | macros
    if verb not in _VERBS or len(words) > _MAX_WORDS:
        return False
    for at, word in enumerate(words):
        before, after = _at(words, at - 1), _at(words, at + 1)
        tested = before == "is" or (before == "not" and _at(words, at - 2) == "is")
        if before == "|":
            good = word in _FILTERS or (word in _FOR_EACH and _applies(word, words[at + 1 :]))
        elif tested:
            good = word in _TESTS or word in ("not", "True", "False", "None")
        elif before == ".":
            good = after != "(" or word in _METHODS
        elif word == "(":
            good = before not in (")", "]", "}") and not _is_string(before)  # no call of what an expression gives
        elif word == "*":
            good = _is_string(before) or _is_string(after)  # lists can be repeated, too, and fuel does not see it
        elif word in ("**", "recursive"):
            good = False
        elif _is_name(word) and word not in _WORDS:
            # What is called is a function of ours or a macro, and no variable has its name.
            good = (word in functions) if after == "(" else (word not in functions or after == "is")
        else:
            good = True
        if not good:
            return False
    return _held(words, functions) <= _MAX_HELD


def hides_time(words: Sequence[str]) -> bool:
    """Whether a tag compares, cuts or joins what may be long: fuel takes that for one instruction, or few."""
    for at, word in enumerate(words):
        if word == "join":  # prints what it is given
            return True
        if word in _COMPARISONS:
            if not (_short_after(words, at) or _short_before(words, at)):
                return True
        elif word == "[" and _is_operand(_at(words, at - 1)):
            if not (_is_string(_at(words, at + 1)) and _at(words, at + 2) == "]"):
                return True
        elif word in _COMPARING and "is" in (_at(words, at - 1), _at(words, at - 2)):
            return True
    return False


def _at(words: Sequence[str], at: int) -> str:
    return words[at] if 0 <= at < len(words) else ""


def _is_string(word: str) -> bool:
    return word[:1] in ("'", '"')


def _is_name(word: str) -> bool:
    return word[:1].isalpha() or word[:1] == "_"


def _is_constant(word: str) -> bool:
    return _is_string(word) or word[:1].isdigit() or word in _CONSTANTS


def _is_operand(word: str) -> bool:
    """Whether an operand could end with it, so that a bracket after it calls or cuts."""
    return word in (")", "]", "}") or _is_string(word) or (_is_name(word) and word not in _WORDS)


def _applies(name: str, words: Sequence[str]) -> bool:
    """Whether map, select and their like are given constants, and filters or tests that are listed, by name."""
    if _at(words, 0) != "(":
        return name in ("select", "reject")
    given = list(takewhile(lambda word: word != ")", words[1:]))
    if not all(_is_constant(word) or word in (",", "=", "attribute", "default") for word in given):
        return False
    names = [
        word[1:-1] for before, word in zip(["", *given], given, strict=False) if _is_string(word) and before != "="
    ]
    if name == "map":
        return all(word in _FILTERS for word in names[:1])
    first = 1 if name in ("selectattr", "rejectattr") else 0
    return all(word in _TESTS for word in names[first : first + 1])


def _held(words: Sequence[str], functions: frozenset[str]) -> int:
    """How many elements of lists, mappings and arguments have a variable that is used whole. Macros copy none."""
    held = 0
    open_brackets: list[list[bool]] = []  # for each: whether it counts, and whether its element has a variable
    for at, word in enumerate(words):
        before, after = _at(words, at - 1), _at(words, at + 1)
        if word in ("(", "[", "{"):
            free = _is_operand(before) and (word == "[" or before in functions)
            open_brackets.append([not free, False])
        elif word in (")", "]", "}", ","):
            if open_brackets:
                counts, has = open_brackets[-1]
                held += counts and has
                open_brackets[-1][1] = False
            if word != "," and open_brackets:
                open_brackets.pop()
        elif open_brackets and _is_name(word) and word not in _WORDS and word not in _CONSTANTS:
            whole = before not in (".", "|", "is") and after not in (".", "[", "(", "=")
            open_brackets[-1][1] = open_brackets[-1][1] or whole
    return held


def _short_after(words: Sequence[str], at: int) -> bool:
    """Whether a constant, or a list of them, stands on the right of a comparison."""
    at += 1
    if _at(words, at) in ("(", "["):
        inner = list(takewhile(lambda word: word == "," or _is_constant(word), words[at + 1 :]))
        at += len(inner) + 1
        return _at(words, at) in (")", "]") and _at(words, at + 1) in _ENDS
    at += _at(words, at) == "-"
    return _is_constant(_at(words, at)) and _at(words, at + 1) in _ENDS


def _short_before(words: Sequence[str], at: int) -> bool:
    at -= 2 if _at(words, at - 1) == "not" else 1
    return _is_constant(_at(words, at)) and _at(words, at - 1) in _STARTS
