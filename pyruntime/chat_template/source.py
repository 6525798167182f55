"""From jinja2, as chat templates are written for it, to what minijinja takes for the same.

A template is cut into text, comments and tags, and tags into tokens; what minijinja does as jinja2 does stays as it
is. Changed are: line ends, raw and generation blocks, string literals, methods that minijinja lacks, `%`, tuples
without parentheses, `boolean=`, floats for tojson. What a name is bound to, if it may be a list or mapping that the
template made, goes through `kept` (values.py); before what fuel does not see, `tick` (limits.py) asks for the time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from pyruntime.chat_template.cost import MAX_PLAIN, MAX_PLAIN_ELIFS, hides_time, is_plain
from pyruntime.chat_template.expression import Token, expression, in_parentheses, quoted, top_level
from pyruntime.errors import TemplateError

MAX_SOURCE = 256 << 10  # characters; the longest templates in use have 30 thousand
_MAX_TOKENS = 600  # of a tag, and _MAX_BRACKETS deep: minijinja's compiler recurses over operators and brackets
_MAX_BRACKETS = 40
_MAX_ELIFS = 1000  # and over elifs

_OPEN = re.compile(r"\{([{%#])([-+]?)")
_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<string>'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")"
    r"|(?P<number>0[xXoObB][\da-fA-F_]+|\d[\d_]*(?:\.\d[\d_]*)?(?:[eE][-+]?\d+)?)"
    r"|(?P<name>[^\W\d]\w*)"
    r"|(?P<operator>\*\*|//|==|!=|<=|>=|[-+*/%~<>=.,:|()\[\]{}])",
    re.DOTALL,
)
_END_RAW = re.compile(r"\{%([-+]?)\s*endraw\s*([-+]?)%\}")
_LARGE_DEFAULT = re.compile(
    r"""\bmap \( (?:["']d(?:efault)?["']|[^()]*\bdefault = (?!["'\d]|(?:[Tt]rue|[Ff]alse|[Nn]one) ))"""
)
_PAIRS = {"(": ")", "[": "]", "{": "}"}


@dataclass
class Tag:
    """`{{ ... }}` or `{% ... %}`: its kind is the second character, left and right the signs of white space control."""

    kind: str
    left: str
    right: str
    tokens: list[Token] = field(default_factory=list)

    @property
    def words(self) -> list[str]:
        return [token.text for token in self.tokens if token.kind != "space"]


class Translation(NamedTuple):
    """A template for minijinja, and whether it may be compiled and rendered in this process (cost.py)."""

    text: str
    is_plain: bool


def to_minijinja(source: str) -> Translation:
    """TemplateError for what does not parse, and for what minijinja's compiler would not survive."""
    if not isinstance(source, str):
        raise TypeError(f"a chat template must be str, not {type(source).__name__}")
    if len(source) > MAX_SOURCE:
        raise TemplateError(f"chat template: {len(source)} characters are more than {MAX_SOURCE}")
    return _Translator(re.sub(r"\r\n?", "\n", source)).result()


class _Translator:
    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._out: list[str] = []
        self._elifs = 0
        self._is_plain = len(source) <= MAX_PLAIN
        self._macros = frozenset(re.findall(r"\bmacro\s+(\w+)", source))
        self._namespaces = set(re.findall(r"\bset\s+(\w+)\s*=\s*namespace\b", source))

    def result(self) -> Translation:
        while (opening := _OPEN.search(self._source, self._at)) is not None:
            self._out.append(self._source[self._at : opening.start()])
            kind, left = opening.groups()
            self._at = opening.end()
            if kind == "#":
                self._comment(opening.start())
                continue
            tag = self._tag(kind, left)
            if kind == "{":
                self._print(tag)
            elif tag.words == ["raw"]:
                self._raw(tag)
            else:
                self._out.append(self._statement(tag))
        self._out.append(self._source[self._at :])
        return Translation("".join(self._out), self._is_plain and self._elifs <= MAX_PLAIN_ELIFS)

    def _error(self, problem: str) -> TemplateError:
        line = self._source.count("\n", 0, self._at) + 1
        return TemplateError(f"chat template: line {line}: {problem}")

    def _comment(self, start: int) -> None:
        end = self._source.find("#}", self._at)
        if end < 0:
            raise self._error("a comment is not closed")
        self._at = end + 2
        self._out.append(self._source[start : self._at])

    def _tag(self, kind: str, left: str) -> Tag:
        tokens: list[Token] = []
        brackets: list[str] = []
        end = re.compile(r"([-+]?)" + re.escape({"{": "}}", "%": "%}"}[kind]))
        while True:
            closing = end.match(self._source, self._at) if not brackets else None
            if closing is not None:
                self._at = closing.end()
                return Tag(kind, left, closing[1], tokens)
            token = _TOKEN.match(self._source, self._at)
            if token is None or token.lastgroup is None:
                what = repr(self._source[self._at]) if self._at < len(self._source) else "the end"
                raise self._error(f"unexpected {what} in a tag")
            text = token[0]
            if text in _PAIRS:
                brackets.append(_PAIRS[text])
            elif text in _PAIRS.values() and (not brackets or brackets.pop() != text):
                raise self._error(f"unexpected {text!r} in a tag")
            tokens.append(Token(token.lastgroup, text))
            if len(brackets) > _MAX_BRACKETS or len(tokens) > 2 * _MAX_TOKENS:
                raise self._error(f"a tag of more than {_MAX_TOKENS} tokens, or brackets {_MAX_BRACKETS} deep")
            self._at = token.end()

    def _raw(self, tag: Tag) -> None:
        """The text of a raw block as a string: minijinja would cut the newline at its beginning."""
        end = _END_RAW.search(self._source, self._at)
        if end is None:
            raise self._error("a raw block is not closed")
        text = self._source[self._at : end.start()]
        text = text.lstrip() if tag.right == "-" else text
        text = text if end[1] else _without_indent(text)
        text = text.rstrip() if end[1] == "-" else text
        self._at = end.end()
        self._out.append(f"{{%{tag.left} if true %}}{{{{ {quoted(text)} }}}}{{% endif {end[2]}%}}")

    def _print(self, tag: Tag) -> None:
        tokens = in_parentheses(tag.tokens) if top_level(tag.tokens, ",") else tag.tokens
        self._is_plain = self._is_plain and is_plain(tag.words, "", self._macros)
        if hides_time(tag.words):
            self._out.append(f"{{%{tag.left or '+'} if tick__() %}}{{% endif %}}")  # +: a print tag cuts no indent
        self._out.append(f"{{{{{tag.left}{self._expression(tokens)}{tag.right}}}}}")

    def _statement(self, tag: Tag) -> str:
        words = tag.words
        verb = words[0] if words else ""
        renamed = {"generation": "with", "endgeneration": "endwith"}.get(verb) if len(words) == 1 else None
        if renamed:  # only training asks what lies between these
            return f"{{%{tag.left} {renamed} {tag.right}%}}"
        if verb == "elif":
            self._elifs += 1
            if self._elifs > _MAX_ELIFS:
                raise self._error(f"more than {_MAX_ELIFS} elif")
        self._is_plain = self._is_plain and is_plain(words, verb, self._macros)
        tokens = _iterable_in_parentheses(tag.tokens) if verb == "for" else tag.tokens
        tick = ""
        if hides_time(words[1:]):
            self._is_plain = self._is_plain and verb != "macro"  # defaults are computed for each call
            tokens = _ticking_condition(tokens) if verb in ("elif", "for") else tokens
            tick = "" if verb == "elif" else f"{{%{tag.left} if tick__() %}}{{% endif %}}"
        checks = "".join(
            f"{{% if {name} is mapping or ({name} is iterable and {name} is defined and {name} is not string) %}}"
            f"{{% set {name} = keep__({name}) %}}{{% endif %}}"
            for name in _bound_names(verb, tokens)
        )
        start = next((at for at, token in enumerate(tokens) if token.kind != "space"), -1) + 1
        head = "".join(token.text for token in tokens[:start])
        statement = head + self._expression(tokens[start:], is_set=verb == "set")
        if not checks:
            return f"{tick}{{%{tag.left}{statement}{tag.right}%}}"
        return f"{tick}{{%{tag.left}{statement}%}}{checks[:-2]}{tag.right}%}}"

    def _expression(self, tokens: list[Token], is_set: bool = False) -> str:
        """The tokens translated. A namespace may be used by its attributes only: one that holds itself has no end."""
        words = ["", *(token.text for token in tokens if token.kind != "space"), "", ""]
        for before, word, after in zip(words, words[1:], words[2:], strict=False):
            made_here = is_set and (before == "" or (word == "namespace" and before == "="))
            if word in self._namespaces and before != "." and after not in (".", "[", "=") and not made_here:
                raise self._error(f"the namespace {word} is used as a value; only its attributes are supported")
            if word == "namespace" and after == "(" and before != "." and not made_here:
                raise self._error("namespace() is supported in {% set name = namespace(...) %} alone")
        if is_set and words[3:5] == ["namespace", "("] and words[5] != ")" and words[6] != "=":
            raise self._error("namespace() is supported with keyword arguments alone")
        if _LARGE_DEFAULT.search(" ".join(words)):
            raise self._error("map() supports a literal as default alone: any other could be large, and many")
        return expression(tokens)


def _ticking_condition(tokens: list[Token]) -> list[Token]:
    """Of elif, and of a for tag that has one: `tick__() and (...)`. Nothing can stand before either."""
    at = next(iter(top_level(tokens, "elif") + top_level(tokens, "if")), None)
    if at is None:
        return tokens
    end = min([*top_level(tokens, "recursive"), len(tokens)])
    tick = [Token("name", "tick__"), Token("operator", "("), Token("operator", ")"), Token("space", " ")]
    return [*tokens[: at + 1], Token("space", " "), *tick, Token("name", "and"), *in_parentheses(tokens[at + 1 : end]),
            *tokens[end:]]  # fmt: skip


def _iterable_in_parentheses(tokens: list[Token]) -> list[Token]:
    """Of a for tag: jinja2 takes `for x in 1, 2`."""
    start = min(top_level(tokens, "in"), default=-1) + 1
    end = min([*top_level(tokens, "if"), *top_level(tokens, "recursive"), len(tokens)])
    if not start or not top_level(tokens[start:end], ","):
        return tokens
    return [*tokens[:start], *in_parentheses(tokens[start:end]), *tokens[end:]]


def _bound_names(verb: str, tokens: list[Token]) -> list[str]:
    """What a tag gives a new value to, if that could be a list or mapping made by the template."""
    words = [token.text for token in tokens if token.kind != "space"]
    if verb == "set" and words[2:4] == ["=", "namespace"]:
        return [f"{words[1]}.{name}" for name in _parameters(words[5:])]
    if verb == "set" and "=" in words:
        return _names(words[1 : words.index("=")]) if _makes(words[words.index("=") + 1 :]) else []
    if verb == "for" and "in" in words:
        return _names(words[1 : words.index("in")]) if _makes(words[words.index("in") + 1 :]) else []
    if verb in ("macro", "call") and "(" in words:  # call without names of its own has an expression alone
        if verb == "call" and words[1] != "(":
            return []
        return _parameters(words[words.index("(") + 1 :])
    if verb == "with" and _makes(words):
        return _parameters(words[1:])
    return []


def _makes(words: list[str]) -> bool:
    return any(word in ("[", "{", "(", "+", "|", ",") for word in words)


def _names(words: list[str]) -> list[str]:
    """a, (b, c) has three; ns.x is one."""
    text = " ".join(words).replace(" . ", ".")
    return [name for name in re.split(r"[\s,()]+", text) if name]


def _parameters(words: list[str]) -> list[str]:
    """The names of `a, b=1)`, and of `a = 1, b = 2`."""
    names = []
    depth = 0
    before = ","
    for word in words:
        if depth == 0 and word == ")":
            break
        depth += (word in _PAIRS) - (word in _PAIRS.values())
        if depth == 0 and before == "," and (word[0].isalpha() or word[0] == "_"):
            names.append(word)
        before = word if depth == 0 else ""
    return names


def _without_indent(text: str) -> str:
    """Without the blanks of a last line that has nothing else, as lstrip_blocks has it."""
    bare = text.rstrip(" \t")
    return bare if bare.endswith("\n") else text
