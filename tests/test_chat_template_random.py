"""Random templates against jinja2: what is translated stands next to, in and around everything else."""

from __future__ import annotations

import random
from collections.abc import Callable

import jinja2
import pytest
from test_chat_template import by_jinja

from pyruntime.chat_template import ChatTemplate
from pyruntime.errors import TemplateError

VARIABLES = {
    "messages": [{"role": "user", "content": " a,b c\n"}, {"role": "assistant", "content": "x%sy"}],
    "s": "ab cd,ef",
    "n": 7,
    "l": [3, 1, 2],
    "d": {"a": "x", "b": [1, "z"]},
    "t": True,
    "tools": None,
}
METHODS = [
    *("upper()", "lower()", "strip()", "title()", 'lstrip("a")', 'rsplit(",",1)[0]', 'removeprefix("a")', "ljust(5)"),
    *('partition(",")[2]', "zfill(4)", "swapcase()", 'replace("a","%")', 'split(",")[-1]', 'rpartition("c")[0]'),
    *("center(9)", "format()", 'removesuffix("ef")', "rjust(n)"),
]
FILTERS = [
    *("trim", "upper", "lower", 'replace("a","b")', 'default("x",boolean=true)', 'default("")', "title", "capitalize"),
    *("string", "tojson"),
]
TESTS = ["string", "number", "iterable", "mapping", "defined", "sequence", "none", "not none"]


class Writer:
    """Expressions of a type and templates, of a depth that ends."""

    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)

    def one(self, depth: int, simple: list[str], *others: Callable[[int], str]) -> str:
        if depth <= 0 or self.pick.random() < 0.2:
            return self.pick.choice(simple)
        return self.pick.choice(others)(depth - 1)

    def string(self, k: int) -> str:
        s, n, b, a = self.string, self.number, self.truth, self.list
        return self.one(
            k,
            ["s", "'a,b'", '"it\'s"', r"'x\ny'", r"'\u00e9'", "'%s'", "messages[0].content", "messages[-1]['role']", "d.a"],
            lambda k: f"{s(k)} ~ {self.any(k)}",
            lambda k: f"({s(k)} + {s(k)})",
            lambda k: f"({s(k)}).{self.pick.choice(METHODS)}",
            lambda k: f"s.{self.pick.choice(METHODS)}",
            lambda k: f"{s(k)} | {self.pick.choice(FILTERS)}",
            lambda k: f"({s(k)} if {b(k)} else {s(k)})",
            lambda k: f"('%s-%s' % ({self.any(k)}, {s(k)}))",
            lambda k: f"'%03d' % {self.pick.choice(['n', 'l[0]', '(n + 1)', '-n', 'x | default(3)'])}",
            lambda k: f"({s(k)})[{self.pick.choice(['0:2', '1:', '-1:', '::-1', ':-1'])}]",
            lambda k: f"'{{}}+{{x}}'.format({s(k)}, x={n(k)})",
            lambda k: f"{a(k)} | join({s(0)})",
            lambda k: f"{self.any(k)} | tojson",
        )  # fmt: skip

    def number(self, k: int) -> str:
        n = self.number
        return self.one(
            k,
            ["n", "3", "l[1]"],
            lambda k: f"({n(k)} {self.pick.choice('+-')} {n(k)})",
            lambda k: f"{n(k)} % {self.pick.choice(['3', '2', 'n'])}",
            lambda k: f"({n(k)} * {n(k)} % 5)",
            lambda k: f"({self.string(k)}) | length",
            lambda k: "n // 2 % 3",
        )

    def truth(self, k: int) -> str:
        return self.one(
            k,
            ["t", "false", "n"],
            lambda k: f"{self.string(k)} == {self.string(k)}",
            lambda k: f"{self.number(k)} % 2 == 0",
            lambda k: f"not {self.truth(k)}",
            lambda k: f"({self.truth(k)} and {self.truth(k)})",
            lambda k: f"{self.string(k)} in {self.string(k)}",
            lambda k: f"{self.any(k)} is {self.pick.choice(TESTS)}",
        )

    def list(self, k: int) -> str:
        return self.one(
            k,
            ["l", "[1, 'a']", "messages | map(attribute='role') | list"],
            lambda k: f"[{self.string(k)}, {self.number(k)}]",
            lambda k: f"({self.list(k)})[1:]",
            lambda k: f"({self.list(k)} + {self.list(k)})",
            lambda k: f"({self.string(k)}).split(',')",
        )

    def any(self, k: int) -> str:
        return self.pick.choice((self.string, self.number, self.list))(k)

    def tag(self, text: str) -> str:
        return "{%" + self.pick.choice(["", "-"]) + f" {text} " + self.pick.choice(["", "-"]) + "%}"

    def template(self, k: int) -> str:
        tag, inner = self.tag, lambda: self.template(k - 1)
        blocks = [
            lambda: tag(f"set v = {self.any(2)}") + "{{ v }}",
            lambda: tag(f"if {self.truth(2)}") + inner() + tag("else") + inner() + tag("endif"),
            lambda: tag(f"for i in {self.list(2)}") + "{{ i }}{{ loop.index % 2 }}" + inner() + tag("endfor"),
            lambda: tag(f"set ns = namespace(x={self.string(1)})") + tag("set ns.x = ns.x + ns.x") + "{{ ns.x }}",
            lambda: tag(f"macro f(a, b={self.number(1)})") + "{{ a }}{{ b }}" + tag("endmacro") + f"{{{{ f({self.list(1)}) }}}}",
            lambda: tag("raw") + self.pick.choice([" {{ \n", "\n%} ", "  \n  "]) + tag("endraw"),
            lambda: tag("generation") + inner() + tag("endgeneration"),
            lambda: inner() + "{# c #}" + inner(),
        ]  # fmt: skip
        space = self.pick.choice(["", " ", "\n", "\n  ", "x\n", "  y"])
        if k <= 0 or self.pick.random() < 0.4:
            return space + "{{" + self.pick.choice(["", "-"]) + f" {self.any(3)} " + self.pick.choice(["", "-"]) + "}}"
        return space + self.pick.choice(blocks)()


@pytest.mark.parametrize("seed", range(4))
def test_random_templates(seed: int) -> None:
    writer = Writer(seed)
    compared = 0
    for _ in range(150):
        source = writer.template(3)
        try:
            expected = by_jinja(source, **VARIABLES)
        except (ArithmeticError, LookupError, TypeError, ValueError, jinja2.TemplateError):
            with pytest.raises(TemplateError):
                ChatTemplate(source).render(**VARIABLES)
        else:
            assert ChatTemplate(source).render(**VARIABLES) == expected, source
            compared += 1
    assert compared > 100
