"""Expressions of jinja2 as minijinja takes them, token by token: the operand at hand is known, so it can be wrapped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pyruntime.errors import TemplateError, printable


class Token(NamedTuple):
    """kind: space, string, number, name or operator; a string is still as it is spelled."""

    kind: str
    text: str


# Methods of strings and lists that minijinja lacks, does otherwise, or that need a limit; `method` in functions.py has them.
METHODS = frozenset(
    [
        *("casefold", "center", "expandtabs", "format", "index", "ljust", "partition", "removeprefix", "removesuffix"),
        *("rfind", "rindex", "rjust", "rpartition", "rsplit", "split", "splitlines", "swapcase", "title", "zfill"),
    ]
)
_WORDS = frozenset(["and", "or", "not", "in", "is", "if", "else", "recursive"])  # operators, though they are names
_PRODUCTS = frozenset(["*", "/", "//", "%"])
_MAX_COPIED = 200  # characters: longer operands of tojson are no numbers
_CONTINUES = frozenset([".", "|", "**"])  # the operand goes on after these


@dataclass
class _Level:
    """What is known between two brackets."""

    start: int | None = None  # in the output: of the operand at hand
    complete: bool = False  # the operand could end here
    product: bool = False  # it follows *, / or %: what stands before it belongs to the product
    pending: int = 0  # parentheses to close once the operand ends
    list_inside: bool = False
    called: bool = False  # the brackets of a call or a subscript, not of a group or a list
    defaults: bool = False  # these are the brackets of default(...)


def expression(tokens: Sequence[Token]) -> str:
    """The tokens as text in which minijinja computes what jinja2 would. TemplateError for repeated lists."""
    return _Writer([Token("string", literal(t.text)) if t.kind == "string" else t for t in tokens]).text()


class _Writer:
    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._out: list[str] = []
        self._levels = [_Level()]
        self._last_closed_list = False  # the operand before the next token is, or holds, a list

    def text(self) -> str:
        at = 0
        while at < len(self._tokens):
            at += self._token(at)
        self._close_operand()
        return "".join(self._out)

    def _token(self, at: int) -> int:
        """Writes a token, and returns how many were read."""
        kind, text = self._tokens[at]
        if kind == "space":
            self._out.append(text)
            return 1
        if text in ("(", "[", "{"):
            self._open(at, text)
        elif text in (")", "]", "}"):
            self._close(text)
        elif kind == "operator" or (kind == "name" and text in _WORDS):
            return self._operator(at, text)
        elif kind == "name" and text == "boolean" and self._levels[-1].defaults and self._next(at)[0] == "=":
            return self._next(at)[1] + 1 - at  # default(x, boolean=true): by position
        else:
            self._begin_operand()
            self._levels[-1].complete = True
            self._last_closed_list = False
            self._out.append(text)
        return 1

    def _next(self, at: int) -> tuple[str, int]:
        """The text of the next token that is no space, and where it is."""
        at += 1
        while at < len(self._tokens) and self._tokens[at].kind == "space":
            at += 1
        return (self._tokens[at].text if at < len(self._tokens) else ""), at

    def _begin_operand(self) -> None:
        level = self._levels[-1]
        if level.start is None:
            level.start = len(self._out)

    def _close_operand(self) -> None:
        level = self._levels[-1]
        self._out.append(")" * level.pending)
        level.pending, level.start, level.complete = 0, None, False

    def _open(self, at: int, text: str) -> None:
        level = self._levels[-1]
        called = level.complete
        self._begin_operand()
        self._out.append(text)
        defaults = text == "(" and called and self._previous(at) in ("default", "d")
        self._levels.append(_Level(list_inside=text == "[" and not called, called=called, defaults=defaults))

    def _previous(self, at: int) -> str:
        return next((t.text for t in reversed(self._tokens[:at]) if t.kind != "space"), "")

    def _close(self, text: str) -> None:
        if len(self._levels) == 1:  # {% (a) %}: the bracket that opens it stands where a statement has its name
            raise TemplateError(f"chat template: unexpected {text!r} in a tag")
        self._close_operand()
        inner = self._levels.pop()
        self._last_closed_list = inner.list_inside and not inner.called
        self._levels[-1].list_inside |= self._last_closed_list
        self._levels[-1].complete = True
        self._out.append(text)

    def _operator(self, at: int, text: str) -> int:
        level = self._levels[-1]
        if text == "." and level.complete:
            name, name_at = self._next(at)
            if name in METHODS and self._next(name_at)[0] == "(":
                assert level.start is not None
                self._out.insert(level.start, f"method__('{name}', ")
                self._out.append(", ")
                self._levels.append(_Level(called=True))
                return self._next(name_at)[1] + 1 - at
        if text == "|" and level.complete and self._next(at)[0] == "tojson":
            return self._to_json(at)
        if text == "not" and not level.complete:
            level.start = None
        elif text == "is" and level.complete:  # a % b is odd: a % (b is odd)
            level.complete = False
        elif text in _CONTINUES or (text in ("-", "+") and not level.complete):
            self._begin_operand()
            level.complete = False
        elif text == "%" and level.complete and not level.product:
            assert level.start is not None
            self._out.insert(level.start, "modulo__(")
            self._out.append(", ")
            level.pending, level.product, level.start, level.complete = 1, True, None, False
            return 1
        else:
            self._refuse_repeated_lists(at, text)
            self._close_operand()
            level.product = text in _PRODUCTS
        self._out.append(text)
        return 1

    def _to_json(self, at: int) -> int:
        """With whether the operand is a float: on its way to Python, 1.0 becomes 1."""
        start = self._levels[-1].start
        operand = "".join(self._out[start:])
        is_float = f"float__=({operand} is float)" if len(operand) < _MAX_COPIED else ""
        after, after_at = self._next(self._next(at)[1])
        if after != "(":
            self._out.append(f" | tojson({is_float})")
            return self._next(at)[1] + 1 - at
        self._out.append(f" | tojson({is_float}, " if is_float else " | tojson(")
        self._levels.append(_Level(called=True))
        return after_at + 1 - at

    def _refuse_repeated_lists(self, at: int, text: str) -> None:
        """[[[x] * 999] * 999] * 999 is a billion, in no time and no fuel; no template repeats a list."""
        if text == "*" and (self._last_closed_list or self._next(at)[0] == "["):
            raise TemplateError("chat template: a list cannot be repeated with *")


def literal(text: str) -> str:
    """A string literal of jinja2 as one of minijinja, which knows fewer escapes."""
    try:
        value = text[1:-1].encode("ascii", "backslashreplace").decode("unicode-escape")
        value.encode()
    except UnicodeError:
        raise TemplateError(f"chat template: a string with a bad escape: {printable(text[:80])[:80]}") from None
    return quoted(value)


def quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def top_level(tokens: Sequence[Token], text: str) -> list[int]:
    """Where this operator or word stands outside of brackets."""
    depth = 0
    found = []
    for at, token in enumerate(tokens):
        if token.kind == "operator" and token.text in "([{":
            depth += 1
        elif token.kind == "operator" and token.text in ")]}":
            depth -= 1
        elif depth == 0 and token.text == text and token.kind in ("operator", "name"):
            found.append(at)
    return found


def in_parentheses(tokens: Sequence[Token]) -> list[Token]:
    return [Token("space", " "), Token("operator", "("), *tokens, Token("operator", ")"), Token("space", " ")]
