"""Templates that eat time or memory, and a process that measures what each costs the one that renders it.

    python template_attacks.py KIND [SEED]     a line of JSON for each: name, CPU seconds, bytes, the end

The memory is the peak above what was resident before, reset for each; only Linux has that.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from typing import Any

from pyruntime.chat_template import ChatTemplate
from pyruntime.errors import TemplateError

CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "short": [{"role": "user", "content": "a"}],
    "long": [{"role": role, "content": "word " * 800_000} for role in ("user", "assistant")],
    "newlines": [{"role": "user", "content": "\n" * 4_000_000}],
    "not ASCII": [{"role": "user", "content": "wörd€ " * 500_000}],
    "many": [{"role": role, "content": "word " * 20} for role in ("user", "assistant") * 2500],
}
GROWN = (  # b has a megabyte
    "{% set ns = namespace(x='ab') %}{% for i in range(19) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{% set b = ns.x %}"
)
READ = "{% set c = messages[0].content %}"
COPIED = READ + "{% set d = c ~ '' %}"


def again(body: str) -> str:
    return "{% for i in range(9999) %}{% for j in range(9999) %}" + body + "{% endfor %}{% endfor %}"


def bound(expression: str, times: int = 1500) -> str:
    """To as many names, so that nothing is given back."""
    return "".join(f"{{% set e{i} = {expression} %}}" for i in range(times))


ATTACKS = {
    "loops": again(""),
    "grown strings compared": GROWN + "{% set d = b ~ '' %}" + again("{% if b == d %}{% endif %}"),
    "messages compared": COPIED + again("{% if c == d %}{% endif %}"),
    "many comparisons in a tag": COPIED + "{% if " + " and ".join(["c == d"] * 45) + " %}{% endif %}" * 60,
    "compared in a loop's condition": COPIED + "{% for x in range(99999) if c == d %}{% endfor %}",
    "looked for in a list": COPIED + "{% set l = [c] %}" + again("{% if d in l %}{% endif %}"),
    "conversations compared": "{% set m = messages[:] %}" + again("{% if messages == m %}{% endif %}"),
    "cuts": READ + again("{% set e = c[5:6] %}{% set e = c[-1] %}"),
    "cut backwards": READ + again("{% set e = c[::-1] %}"),
    "messages read": again("{% set e = messages[0].content %}"),
    "messages read and kept": bound("messages[0].content"),
    "messages put in lists": READ + "{{ [c, c, c, c] | tojson | tojson }}{{ [c, c, c, c] | join }}",
    "mapped and kept": bound("messages | map(attribute='content') | list", 700),
    "a list that grows": "{% set ns = namespace(l=[]) %}" + again("{% set ns.l = ns.l + [messages[0].content] %}"),
    "lists kept": "{% set ns = namespace(x=range(9999) | list) %}" + bound("ns.x + [1]"),
    "mappings of mappings": "{% set d = {'a': messages, 'b': messages} %}" + "{% set d = {'a': d, 'b': d} %}" * 60,
    "pairs": "{% set v = messages[0].items() | list %}" + again("{% set e = v[1][1] %}"),
    "values": "{% set v = messages[0].values() %}" + again("{% for x in v %}{% endfor %}"),
    "printed": again("{{ messages }}") + again("{% set e = messages ~ '' %}"),
    "joined": "{{ messages | join(', ') }}" * 500,
    "concatenated": "{{ (" + " + ".join(["messages"] * 70) + ") | tojson }}",
    "JSON": again("{% set e = messages | tojson(ensure_ascii=true) %}"),
    "indented JSON": "{% set ns = namespace(x=range(9000) | list) %}"
    "{% for i in range(90) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x | tojson(indent=16) }}",
    "split": again("{% set e = messages[0].content.split('\\n') %}") + again("{{ messages[0].content.split() }}"),
    "split a grown string": GROWN + again("{{ b.split('a') | length }}{{ b.splitlines() | length }}"),
    "characters": GROWN + "{{ b | list | sort | unique | list | length }}",
    "replaced": READ + "{{ c" + " | replace('w', '" + "w" * 60 + "')" * 20 + " }}",
    "replaced nothing": GROWN + "{{ b.replace('', b) }}{{ b.join(b) }}{{ b | join(b) }}",
    "indented": READ + "{{ c | indent(99999999) }}",
    "repeated": "{{ 'a' * 99999999 }}" + "{% set x = 'abc' * 999999 %}" * 50,
    "powers": "{{ 9 ** 9 ** 9 }}",
    "found after long": GROWN + "{% set h = b[:60000] ~ 'c' %}" + again("{% set e = h in b %}{{ b.rpartition(h)[0] }}"),
    "formats": GROWN + again("{% set e = '%s' % b %}{% set e = '{}'.format(b) %}"),
    "dates": again("{% set e = strftime_now('%c%c%c%c%c%c%c%c%c%c%c%c%c%c%c%c%c%c') %}"),
    "macros in macros": "{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "many macros": "".join(f"{{% macro m{i}(a, b, c) %}}{{{{ a }}}}{{% endmacro %}}" for i in range(1200)),
    "recursive loop": "{% for x in [[1]] recursive %}{{ loop([[x, x]]) }}{% endfor %}",
    "elifs": "{% if a %}" + "{% elif b %}" * 900 + "{% endif %}",
    "lists in one tag": "{{ " + "[" * 30 + "messages" + ", messages]" * 30 + " == [1] }}",
    "builtin": "{# macro lipsum #}{{ lipsum(n=99999999) }}",
}


def invented(seed: int) -> dict[str, str]:
    """Templates of pieces that grow, read, compare and keep, in any order."""
    pick = random.Random(seed).choice
    names = ["a", "b", "ns.x", "messages", "messages[0].content", "messages[-1]"]

    def value(depth: int) -> str:
        if depth == 0:
            return pick([*names, "'xyz'", "range(9999)"])
        one, two = value(depth - 1), value(depth - 1)
        return pick(
            [
                f"({one} ~ {two})", f"({one} + {two})", f"[{one}, {two}]", f"({one} | tojson)", f"({one} | list)",
                f"({one} | string).split('a')", f"({one} | string | replace('a', {two}))", f"({one} | join({two}))",
                f"({one} == {two})", f"({one} in {two})", f"({one})[:{pick(['-1', '9', ''])}]", f"({one} | unique | list)",
                f"{{'a': {one}, 'b': {two}}}", f"({one} | sort)", f"({one} | string).title()", f"({one} | string * 9)",
            ]
        )  # fmt: skip

    def statement() -> str:
        return f"{{% set {pick(['a', 'b', 'ns.x'])} = {value(pick([1, 2, 2, 3]))} %}}"

    start = "{% set ns = namespace(x='aab') %}{% set a = 'a' %}{% set b = [1] %}"
    return {
        f"{seed}.{i}": start + pick([again, str, str])("".join(statement() for _ in range(pick([1, 3, 40]))))
        for i in range(25)
    }


def measured(source: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins anew
    before = _memory("VmRSS")
    start = time.thread_time()
    try:
        end = f"{len(ChatTemplate(source).render(messages))} characters"
    except TemplateError as error:
        end = str(error)
    return {"seconds": time.thread_time() - start, "bytes": _memory("VmHWM") - before, "end": end}


def _memory(name: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(name))


if __name__ == "__main__":
    conversation = CONVERSATIONS[sys.argv[1]]
    sources = invented(int(sys.argv[2])) if len(sys.argv) > 2 else ATTACKS
    measured("{{ messages[0].content | trim }}", conversation)  # what is imported once
    for name, source in sources.items():
        print(json.dumps({"name": name, **measured(source, conversation)}), flush=True)
    print(json.dumps({"apart": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10}))
