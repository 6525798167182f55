"""Templates that mean harm: refused, or stopped in time, in one line and in little memory."""

from __future__ import annotations

import time

import pytest
from test_chat_template import by_jinja, message

from pyruntime.chat_template import ChatTemplate
from pyruntime.errors import TemplateError

GROW = "{{% set ns = namespace(x={}) %}}{{% for i in range(60) %}}{{% set ns.x = {} %}}{{% endfor %}}{{{{ {} }}}}"
HOSTILE = {
    "syntax": "{% for x in %}",
    "raises": "{{ raise_exception('no\n\nway') }}",
    "raises what a terminal obeys": "{{ raise_exception('\x1b[31m\x01\u202e' * 999) }}",
    "a bad escape after what a terminal obeys": "{{ '\x1b[31m\\x0' }}",
    "undefined": "{{ nothing.at.all }}",
    "include": "{% include '/etc/passwd' %}",
    "long string": "{{ 'a' * 10 ** 9 }}",
    "long range": "{% for i in range(10 ** 9) %}{% endfor %}",
    "long list": "{{ ([0] * 10 ** 9) | length }}",
    "endless loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "doubling": "{% set n = namespace(x='aa') %}{% for i in range(50) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "doubling a list": "{% for i in range(50) %}{% set x = messages.extend(messages) %}{% endfor %}",
    "doubling a copy": "{% set x = messages.copy() %}{% for i in range(50) %}{% set y = x.extend(x) %}{% endfor %}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "padding": "{{ '{:>99999999999999}' . format(1) }}",
    "indent": "{{ messages | tojson(indent=10 ** 9) }}",
    "much output": "{% for i in range(99999) %}{{ 'a' * 100 }}{% endfor %}",
    "list added to itself": GROW.format("[1]", "ns.x + ns.x", "7 in ns.x"),
    "conversation added to itself": GROW.format("messages", "ns.x + ns.x", "ns.x | tojson"),
    "lists of lists": GROW.format("[1]", "[ns.x, ns.x]", "ns.x == [ns.x]"),
    "mappings of mappings": GROW.format("[1]", "{{'a': ns.x, 'b': ns.x}} | items", "ns.x"),
    "added without a loop": "{% set a = [1] %}" + "{% set a = a + a %}" * 60 + "{{ 7 in a }}",
    "namespaces of namespaces": "{% set n = namespace(x=[1]) %}"
    + "{% set n = namespace(x=[n.x, n.x]) %}" * 60
    + "{{ n.x }}",
    "a namespace in itself": "{% set ns = namespace(x=1) %}{% set ns.x = ns %}{{ ns }}",
    "a namespace in itself by another name": "{% set ns = namespace() %}{% set a = [ns] %}{% set ns.x = a %}{{ ns.x }}",
    "lists in loops": "{% set x = [1] %}" + "{% for x in [[x, x]] %}" * 60 + "{{ x }}" + "{% endfor %}" * 60,
    "lists in with": "{% set x = [1] %}" + "{% with x = [x, x] %}" * 60 + "{{ x }}" + "{% endwith %}" * 60,
    "lists in macros": "{% macro f(x, n) %}{{ f([x, x], n - 1) if n else x }}{% endmacro %}{{ f([1], 60) }}",
    "lists in calls": "{% macro f(x) %}{{ caller([x, x]) }}{% endmacro %}{% set a = [1] %}"
    + "{% call(a) f(a) %}" * 60
    + "{{ a }}"
    + "{% endcall %}" * 60,
    "lists in recursion": "{% for x in [[1]] recursive %}{{ loop([[x, x]]) if loop.depth < 60 else x }}{% endfor %}",
    "list repeated": "{{ [[[[1] * 9999] * 9999] * 9999] }}",
    "list repeated from the left": "{{ 9999 * [9999 * [1]] }}",
    "group repeated": "{{ ([[1] + [2]]) * 99 }}",
    "large default": "{% set b = 'a' * 999999 %}{{ range(99999) | map(attribute='x', default=b) | list | tojson }}",
    "deep list": "{% set ns = namespace(x=[]) %}{% for i in range(20000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
    "quotes of quotes": "{{ '\"' " + "| tojson " * 100 + "}}",
    "format of itself": "{% set x = 'ab' %}" + "{% set x = '%s%s' % (x, x) %}" * 60 + "{{ x }}",
    "str.format of itself": "{% set x = '{0}{0}' %}" + "{% set x = x.format(x) %}" * 60 + "{{ x }}",
    "str.format into Python": "{{ '{0.__class__}'.format(messages) }}",
    "wide format": "{{ '%999999999d' % 1 }}",
    "wide format of an argument": "{{ '%*d' | format(999999999, 1) }}",
    "zfill": "{{ 'a'.zfill(999999999) }}",
    "dates": "{% set d = '%c' * 4000 %}{% for i in range(99999) %}{% set x = strftime_now(d) %}{% endfor %}",
    "methods without fuel": "{% set b = 'a ' * 999999 %}{% for i in range(99999) %}{% set x = b.rpartition('b') %}{% endfor %}",
    "json without fuel": "{% set a = range(90000) | list %}{% for i in range(9999) %}{% set x = a | tojson %}{% endfor %}",
    "brackets": "{{ " + "(" * 50 + "1" + ")" * 50 + " }}",
    "words": "{% if " + "not " * 10_000 + "1 %}{% endif %}",
    "blocks": "{% if 1 %}" * 9_000 + "{% endif %}" * 9_000,
    "unclosed bracket": "{{ (1 }}",
    "wrong bracket": "{{ (1] }}",
    "bracket for a statement": "{% (a) %}",
    "raw without end": "{% raw %}",
    "comment without end": "{# ",
    "strange character": "{{ 1 ? 2 }}",
    "bad escape": "{{ '\\x0' }}",
    "surrogate": "{{ '\\ud800' }}",
    "chain": "{{ 1" + "+1" * 60_000 + " }}",
    "chain behind a comment": "{# {{ #}{% raw %}{# {% endraw %}{{ 1" + "~'%}'" * 40_000 + " }}",
    "elifs": "{% if a %}" + "{%elif b%}" * 20_000 + "{% endif %}",
    "open": "{{ " * 80_000,
    "long": " " * 300_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_templates(name: str) -> None:
    start = time.thread_time()
    with pytest.raises(TemplateError, match=r"^chat template: .+$") as error:
        ChatTemplate(HOSTILE[name]).render([message("a")])
    assert time.thread_time() - start < 1  # of this thread's own; measured: 0.15
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("start", ["[1, 2, 3]", "range(1, 4)", "messages"])
def test_slices_of_slices(start: str) -> None:
    """Lazy ones, twenty thousand deep, would overflow a stack."""
    source = (
        f"{{% set ns = namespace(x={start}) %}}{{% for i in range(20000) %}}{{% set ns.x = ns.x[0:] %}}{{% endfor %}}"
    )
    messages = [message("a"), message("b"), message("c")]
    assert ChatTemplate(source + "{{ ns.x | length }}").render(messages) == "3"


def test_a_large_conversation_is_not_hostile() -> None:
    talk = [{**message("word " * 20, role), "parts": [{"text": "x"}] * 9} for role in ("user", "assistant") * 2500]
    source = (
        "{% set rest = messages[1:] %}{% set all = rest + [messages[0]] %}{{ all | length }}{{ all | tojson | length }}"
    )
    assert ChatTemplate(source).render(talk) == by_jinja(source, messages=talk)
