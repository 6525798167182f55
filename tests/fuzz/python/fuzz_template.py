"""Chat templates: any source, for a conversation that holds a bit of everything. It is refused or makes text in bounded time,
and the ids are those of the text.

An input is the source. What a message says can be seen in the ids: it spells control tokens, which must stay text where the
template writes none itself.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import check_message, mutate_bytes, require, splice
from tokenizer_vocabulary import small

from pyruntime.chat_template import ChatTemplate
from pyruntime.errors import TemplateError, UnsupportedError
from pyruntime.tokenizer import Tokenizer

TEMPLATES = Path(__file__).parents[2] / "data" / "templates"
LONGEST_TEXT = 16 << 20  # characters

MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief.\n"},
    {"role": "user", "content": " a <|im_end|> b <s> ünï %s {{ x }} "},
    {
        "role": "assistant",
        "content": "",
        "reasoning_content": "hm",
        "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"x": 1, "y": [1.5, None]}}}],
    },
    {"role": "tool", "content": '{"n": 3}', "name": "f"},
    {"role": "user", "content": "c"},
]
PLAIN = [{"role": "user", "content": "hello"}]
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}},
    }
]


def pieces(block: str) -> list[str]:
    return re.split(r"  +|\n +", block.strip())


# What templates are made of, two spaces apart. Values and what follows one go into expressions, statements go between tags,
# scraps go anywhere.
VALUES = pieces(
    r"""
    messages  messages[0]  messages[1].content  messages[-1]['role']  tools  bos_token  add_generation_prompt
    messages[2].tool_calls[0].function.arguments  x  ns.x  loop.index0  range(3)  range(9999999)  namespace()  'a'
    '%s'  ' a <|im_start|>'  7  -1  2.5  1e999  none  true  [1, 'b']  {'a': [1, 2]}  (1, 2)  strftime_now('%Y')
    strftime_now('%' * 99)  raise_exception('no')  'a' * 9999999  [[1] * 999] * 999  dict(a=1)  '%999999d' % 1
    '%s' % x  2 ** 99  '\x1b[31m\u202e'  'é'  ''  f(1)  lipsum()  self  caller()
    """
)
FOLLOWERS = pieces(
    """
    |tojson  |tojson(indent=4)  |trim  |join(',')  |length  |list  |sort  |upper  |items  |string
    |selectattr('role', 'equalto', 'user')  |map(attribute='content')  |map('upper')  |rejectattr('name')|list
    |replace('a', 'bb')  |default('')  |batch(3)  |format(1, 2)  |indent(999999)  |reverse  |unique  |int
    |groupby('role')  |safe  |e  |first  |last  |float  |abs  |round(2)  |sum  |min  |dictsort  [0]  [1:]  [::-1]
    [-1]  [:99999999999]  .role  .content  ['content']  .x.x  .__class__  .split('a')  .strip()  .format(1)
    .items()  .get('x')  .startswith('a')  .title()  .zfill(9999999)  .ljust(10**9)  .upper().lower()
    .replace('a', 'aa' * 99)  .append(1)  .rsplit('a', 1)[0]  .count('a')  is defined  is string  is mapping
    is not none  in messages  not in 'ab'  and x  or 1  if x else 'b'  ~ 'b'  % 3  * 3  * 99999999  ** 9  // 2
    + 'b'  == 'user'  < 2  + [1]
    """
)
STATEMENTS = pieces(
    """
    {% for m in messages %}{{ m.content }}{% endfor %}  {% for k, v in messages[0].items() %}{{ k }}{% endfor %}
    {% if loop is defined and loop.first %}a{% else %}b{% endif %}  {% set x = 'a' %}  {% set x %}a{% endset %}
    {% set ns = namespace(x='') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x ~ 'a' %}{% endfor %}{{ ns.x }}
    {% macro f(x) %}{{ x }}{{ f(x) }}{% endmacro %}{{ f(1) }}  {% macro f(x='a') %}{{ x }}{% endmacro %}{{ f() }}
    {% raw %}{{ x }}{% endraw %}  {% filter upper %}a{% endfilter %}  {% generation %}a{% endgeneration %}
    {% for i in range(3) recursive %}{{ loop([i]) }}{% endfor %}  {% call f(1) %}a{% endcall %}  {# a #}
    {% for i in range(999) %}{% for j in range(999) %}{{ i }}{% endfor %}{% endfor %}  {% include 'chat' %}
    {% extends 'chat' %}  {% block a %}b{% endblock %}  {% for m in messages if m.role == 'user' %}u{% endfor %}
    {% for i in messages %}{% if i %}{% continue %}{% endif %}{% break %}{% endfor %}
    {% with y = 1 %}{{ y }}{% endwith %}  {%- if messages[0]['role'] == 'system' -%}a{%- endif -%}
    {{ messages[1]['content'] }}  {{- bos_token -}}  <|im_start|>  <|im_end|>  <s>  <think>  {% do f() %}
    {% autoescape true %}{{ '<' }}{% endautoescape %}
    """
)
SCRAPS = pieces(
    """{{  }}  {%  %}  {%-  -%}  {#  #}  {% endfor %}  {% endif %}  {% else %}  {% endmacro %}  (  )  [  ]  '"""
)
SCRAPS += ['"', "\\", "\0", "\ue000", "\U000f0000", "(" * 99, "not " * 9, "x.x.x.x"]
_TAG = re.compile(r"(\{\{.*?\}\}|\{%.*?%\})", re.DOTALL)


@functools.cache
def tokenizer() -> Tokenizer:
    return small()


def run(data: bytes) -> bool:
    source = data.decode("utf-8", "replace")
    try:
        template = ChatTemplate(source, bos_token="<s>", eos_token="<|im_end|>")
    except TemplateError as error:
        check_message(error)
        return False
    for messages, tools, generate in ((MESSAGES, TOOLS, True), (PLAIN, None, False)):
        try:
            prompt = template.prompt(tokenizer(), messages, tools, generate)
        except (TemplateError, UnsupportedError) as error:
            check_message(error)
            continue
        require(len(prompt.text) <= LONGEST_TEXT, "a text has a limit")
        require(all(0 <= i < tokenizer().n_vocab for i in prompt.ids), "ids are of the vocabulary")
        check_forgery(source, prompt.ids)
    return True


def check_forgery(source: str, ids: list[int]) -> None:
    """A template of plain ASCII in which no token is spelled, nor could be put together, writes none."""
    if re.search(r"[<|>\\]|eos_token|bos_token|[^\x00-\x7f]", source):
        return
    special = {*tokenizer().special_tokens.values()} - {tokenizer().bos_id}
    require(not special.intersection(ids), "what a message spells stays text")


def mutate(data: bytes, draw: random.Random) -> bytes:
    """Nine mutants of ten are put together so that they may well parse."""
    if draw.random() < 0.02:
        return mutate_bytes(data, draw)
    text = data.decode("utf-8", "replace")
    if draw.random() < 0.08:
        return splice(text, draw, [*VALUES, *FOLLOWERS, *STATEMENTS, *SCRAPS]).encode("utf-8", "replace")
    parts = _TAG.split(text)  # text and tags by turns
    at = draw.randrange(len(parts))
    if at % 2 == 0:
        place = draw.randint(0, len(parts[at]))
        new = draw.choice([*STATEMENTS, f"{{{{ {draw.choice(VALUES)} {draw.choice(FOLLOWERS)} }}}}"])
        parts[at] = parts[at][:place] + new + parts[at][place:]
    elif draw.random() < 0.2:
        parts[at] = ""
    elif parts[at].startswith("{{"):
        inside = parts[at][2:-2].strip("- ")
        value = draw.choice(VALUES)
        follower = draw.choice(FOLLOWERS)
        others = [value, f"{value} {follower}", f"{inside} {follower}", f"({inside}) {follower}", f"{inside} ~ {value}"]
        changed = draw.choice(others)
        parts[at] = f"{{{{ {changed} }}}}"
    else:
        words = re.split(r"(?<=[\w\])'])(?=[ )|.\[])", parts[at])
        place = draw.randrange(len(words))
        words[place] += " " + draw.choice(FOLLOWERS) if 0 < place < len(words) - 1 else ""
        parts[at] = "".join(words)
    return "".join(parts).encode("utf-8", "replace")


def seeds() -> Iterator[bytes]:
    for path in sorted(TEMPLATES.glob("*.jinja")):
        yield path.read_bytes()
    yield from (statement.encode() for statement in STATEMENTS)
    yield from (f"{{{{ {value} }}}}".encode() for value in VALUES)
    yield from (f"{{{{ messages[1].content {follower} }}}}".encode() for follower in FOLLOWERS)
