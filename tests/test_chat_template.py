"""Chat templates against jinja2 as Hugging Face sets it up, and against templates that mean harm."""

import json
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any

import pytest
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pyruntime.chat_template import ChatTemplate
from pyruntime.errors import TemplateError

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Each shows what templates of one family do; written for this test.
TEMPLATES = {
    "chatml": CHATML,
    "system first, trim, bos": """\
{% set loop_messages = messages %}
{% for message in loop_messages %}
    {% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'
        + message['content'] | trim + '<|eot_id|>' %}
    {% if loop.index0 == 0 %}
        {%- set content = bos_token + content %}
    {% endif %}
    {{- content }}
{% endfor %}
{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% else %}{{ eos_token }}{% endif %}
""",
    "roles in tokens": "{% for m in messages %}<|{{ m.role }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}<|assistant|>\n",
    "turns must alternate": """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'].strip() ~ '\n' %}
{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}
{%- for message in messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{- raise_exception('Conversation roles must alternate') -}}
    {%- endif -%}
    {{ '<start_of_turn>' ~ ('model' if message.role == 'assistant' else message.role) ~ '\n'
        ~ (system if loop.first else '') ~ message.content | trim ~ '<end_of_turn>\n' }}
{%- endfor -%}
""",
    "thoughts, namespace, slices": """\
{%- set ns = namespace(last=-1, seen=0) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages | length - 1) - loop.index0 %}
    {%- if ns.last < 0 and message.role == "user" and not (message.content.startswith('<tool_response>')
        and message.content.endswith('</tool_response>')) %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if '</think>' in content %}
        {%- set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
        {%- set content = content.split('</think>')[-1].lstrip('\n') %}
    {%- endif %}
    {%- set ns.seen = ns.seen + 1 %}
    {{- '<|im_start|>' + message.role + '\n' }}
    {%- if thought is defined and loop.index0 > ns.last %}{{
        '<think>\n' ~ thought.strip('\n') ~ '\n</think>\n\n' }}{% endif %}
    {{- content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{% endif %}
{%- endif %}
{{ ns.seen }}
""",
    "tools": """\
{%- if tools %}
    {{- '<|im_start|>system\n# Tools\n' }}
    {%- for tool in tools %}
        {{- '\n' ~ (tool | tojson) }}
        {{- '\n' ~ tool.function | tojson(indent=2) }}
        {%- for name, p in tool.function.parameters.properties.items() %}
            {{- name ~ ':' ~ p.type ~ ('' if loop.last else ', ') }}
        {%- endfor %}
    {%- endfor %}
    {{- '<|im_end|>\n' }}
{%- endif %}
{%- for m in messages %}
    {%- if m.tool_calls is defined and m.tool_calls %}
        {%- for call in m.tool_calls %}
            {{- '<tool_call>' ~ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}
            {{- '</tool_call>' }}
        {%- endfor %}
    {%- else %}
        {{- m.role | upper ~ ': ' ~ m.content | replace('\t', ' ') }}
    {%- endif %}
{%- endfor %}
""",
    "macros and whitespace": """\
{% macro turn(role, content, last=false) -%}
    [{{ role | capitalize }}] {{ content | default('-', true) }}{{ '' if last else ';' }}
{%- endmacro %}
{# a comment #}
  {% for m in messages %}
    {{ turn(m.role, m.content, last=loop.last) }} {{ loop.index }}/{{ loop.length }} {{ loop.revindex }}
    {{ loop.previtem is defined }}
  {% else %}
  nothing
  {% endfor %}
{{ messages | map(attribute='role') | join(', ') }} {{ messages | selectattr('role', 'equalto', 'user')
    | list | length }}
{{ messages[-1]['content'][:5] }} {{ (messages | first).role }} {{ [1, 2.5, true, none, 'x'] }} {{ {'a': 1} }}
{{ 7 // 2 }} {{ 7 % 3 }}{% set x = namespace(n=0) %}
{% for m in messages if m.role == 'user' %}{% set x.n = x.n + m.content | length %}{% endfor %}
{{ x.n }} {{ undefined_name }}|{{ 'a' in 'abc' and not false }}
""",
    "constants and loop controls": """\
{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ m.content.upper() }},
{% if loop.index > 3 %}{% break %}{% endif %}{% endfor %}
{{ '%s-%02d' | format('a', 7) }} {{ messages | length > 2 }} {{ 'A' ~ 1 ~ none }}
{{ "it's" | tojson }} {{ '<&>' | tojson }} {{ 'é😀' | tojson }}
""",
}
TALK = [
    {"role": "system", "content": "  Be brief.\n"},
    {"role": "user", "content": "Hi <b>& 'you'\t\"quoted\" é 😀 </think>"},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello!"},
    {"role": "user", "content": " two\n\nlines "},
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "It's <fine> & ü",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "n": {"type": "integer"}}},
        },
    }
]
CALL = {"role": "assistant", "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Köln", "n": 1.5}}}]}


class Generation(Extension):
    """The block whose contents training asks for: its text is that of its body."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Callable[[], str]) -> str:
        return caller()


def by_jinja(source: str, **context: Any) -> str:
    """transformers' apply_chat_template, as far as it is jinja2's."""
    return _compiled(source).render(**{"bos_token": "<s>", "eos_token": "</s>", **context})


@cache
def _compiled(source: str) -> Any:
    def tojson(
        x: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message: str) -> None:
        raise ValueError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(source)


def message(content: str, role: str = "user") -> dict[str, str]:
    return {"role": role, "content": content}


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("generation", [True, False])
def test_equals_jinja(name: str, generation: bool) -> None:
    source = TEMPLATES[name]
    template = ChatTemplate(source, bos_token="<s>", eos_token="</s>")
    for n in range(1, len(TALK) + 1):
        for start in range(min(n, 2)):
            for tools in (None, TOOLS):
                context = {"messages": TALK[start:n], "tools": tools, "add_generation_prompt": generation}
                try:
                    expected = by_jinja(source, **context, enable_thinking=False)
                except ValueError as error:
                    with pytest.raises(TemplateError, match=str(error)):
                        template.render(**context, enable_thinking=False)
                else:
                    assert template.render(**context, enable_thinking=False) == expected


def test_tool_calls_equal_jinja() -> None:
    context = {"messages": [*TALK, CALL], "tools": TOOLS, "add_generation_prompt": True}
    assert ChatTemplate(TEMPLATES["tools"]).render(**context) == by_jinja(TEMPLATES["tools"], **context)


def test_generation_tags_and_the_date() -> None:
    source = "{% for m in messages %}\n{% generation %}\n{{ m.content }}\n{%- endgeneration %}\n{% endfor %}"
    assert ChatTemplate(source).render([message("a"), message("b")]) == "ab"
    year = ChatTemplate("{{ strftime_now('%Y') }}").render([message("a")])
    assert int(year) in (datetime.now().year, datetime.now().year - 1)


# --- Errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "error", "text"),
    [
        ("hi", TypeError, "messages must be a list of mappings, not str"),
        ([message("a"), "b"], TypeError, "messages[1] must be a mapping with 'role' and 'content', not str"),
        ([{"role": "user"}], ValueError, "messages[0] has no 'content'"),
        ([{"content": "x"}], ValueError, "messages[0] has no 'role'"),
        ([message("a"), message(None)], TypeError, "messages[1]['content'] must be str, not NoneType"),  # type: ignore[arg-type]
        ([message("a", "")], ValueError, "messages[0]['role'] is empty"),
        ([message("a\ud800")], ValueError, "messages[0]['content'] has a lone surrogate at position 1"),
        ([{**message("a"), "x": [0, object()]}], TypeError, "messages[0]['x'][1] must be JSON data, not object"),
        ([{**message("a"), "x": {1: 2}}], TypeError, "messages[0]['x'] has a key of type int, not str"),
    ],
)
def test_wrong_messages(messages: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        ChatTemplate(CHATML).render(messages)
    assert str(caught.value) == text


def test_data_nested_without_end() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="nested more than 64 deep"):
        ChatTemplate(CHATML).render([{**message("a"), "x": loop}])


def test_no_python_leaks_in() -> None:
    template = ChatTemplate(
        "{{ messages.__class__ }}{{ messages[0].__class__ }}{{ ''.__class__ }}{{ messages.append }}"
    )
    assert "class" not in template.render([message("a")])
    given = [message("a")]
    ChatTemplate("{% set messages = messages + [1] %}").render(given)
    assert given == [message("a")]
