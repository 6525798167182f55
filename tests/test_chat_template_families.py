"""The constructs of the well-known families' templates, and the templates of real files, against jinja2.

The templates in data/templates were written for these tests: white space control, loops, macros, slices, filters, tests and
methods are as in the families' own, the words between are not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest
from test_chat_template import by_jinja

from pyruntime import _core
from pyruntime.chat_template import ChatTemplate
from pyruntime.errors import TemplateError

TEMPLATES = sorted((Path(__file__).parent / "data" / "templates").glob("*.jinja"))
FAMILIES = {path.stem: path.read_text(encoding="utf-8") for path in TEMPLATES}

SYSTEM = {"role": "system", "content": " Be brief. /no_think\n"}
USER = {"role": "user", "content": "\tWhat is 2 < 3 & 'x' \"y\"?\r\nÄ 😀 {{ messages }} {% raw %}\n"}
AGAIN = {"role": "user", "content": "<tool_response>no</tool_response>"}
PLAIN = {"role": "assistant", "content": "\n\nIt is <b>.\n"}
THOUGHT = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nYes."}
APART = {"role": "assistant", "content": "Yes.", "reasoning_content": "\nhm\n", "thinking": "\nhm\n"}
CALL = {
    "role": "assistant",
    "tool_calls": [
        {
            "id": "abcdefghi",
            "type": "function",
            "function": {"name": "weather", "arguments": {"city": "Köln \"'", "n": 1.0, "deep": [1, {"a": None}], "on": True}},
        }
    ],
}  # fmt: skip
SAID_CALL = CALL | {"content": "One moment."}
RESULT = {"role": "tool", "content": '{"degrees": 21.5}', "tool_call_id": "abcdefghi", "name": "weather"}
TALKS = {
    "one": [USER],
    "system": [SYSTEM, USER],
    "turns": [USER, PLAIN, AGAIN],
    "system and turns": [SYSTEM, USER, THOUGHT, USER, APART, AGAIN],
    "ends with the assistant": [USER, APART],
    "tool": [SYSTEM, USER, SAID_CALL, RESULT],
    "tool without content": [USER, CALL, RESULT, RESULT, PLAIN, USER],
    "two of a role": [USER, USER],
    "system alone": [SYSTEM],
}
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "It's <fine> & ü",
            "parameters": {
                "type": "object",
                "required": ["city"],
                "properties": {
                    "city": {"type": "string", "description": 'A "city"', "enum": ["Köln", "Rom"], "default": "Rom"},
                    "n": {"type": "integer", "default": 1},
                    "days": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
                    "unit": {"type": ["string", "null"]},
                    "where": {"type": "object", "properties": {"lat": {"type": "number"}}, "required": []},
                    "either": {"oneOf": [{"type": "string", "default": 0.5}, {"type": "object", "description": "d"}]},
                },
            },
        },
    },
    {"type": "function", "function": {"name": "none", "description": "", "parameters": {"properties": {}}}},
]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"tools": TOOLS},
    {"enable_thinking": False, "documents": [{"text": "a"}, {"text": "b"}], "controls": {"citations": True}},
    {"tools": TOOLS, "tools_in_user_message": False, "builtin_tools": ["weather", "code_interpreter"], "date_string": "d"},
]  # fmt: skip


def assert_equals_jinja(source: str, messages: list[dict[str, Any]], **context: Any) -> bool:
    """Whether there was a text to compare: where jinja2 raises, so do we, but for a system message that is folded."""
    template = ChatTemplate(source, bos_token="<s>", eos_token="</s>")
    context = {"tools": None, **context}
    try:
        expected = by_jinja(source, messages=messages, **context)
    except (ValueError, TypeError, RecursionError, jinja2.TemplateError):
        if messages[0]["role"] == "system" and folds(source):
            return False
        with pytest.raises(TemplateError):
            template.render(messages, **context)
        return False
    assert template.render(messages, **context) == expected
    return True


def folds(source: str) -> bool:
    return source in (FAMILIES["gemma_2"], FAMILIES["mistral_v1"])


def test_the_families_are_there() -> None:
    assert len(FAMILIES) == 22


@pytest.mark.parametrize("generation", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_family(family: str, generation: bool) -> None:
    compared = [
        assert_equals_jinja(FAMILIES[family], talk, add_generation_prompt=generation, **options)
        for talk in TALKS.values()
        for options in OPTIONS
    ]
    assert sum(compared) >= 8, "most conversations raise: nothing is compared"


@pytest.mark.parametrize("family", ["gemma_2", "mistral_v1"])
def test_families_without_a_system_role(family: str) -> None:
    source = FAMILIES[family]
    folded = [{"role": "user", "content": f"Be brief. /no_think\n\n{USER['content']}"}, PLAIN]
    assert ChatTemplate(source, "<s>", "</s>").render([SYSTEM, USER, PLAIN]) == by_jinja(
        source, messages=folded, add_generation_prompt=True
    )


@pytest.mark.model
def test_the_default_model(model_path: Path) -> None:
    source = _core.GGUF(str(model_path)).metadata["tokenizer.chat_template"]
    for generation in (True, False):
        for talk in TALKS.values():
            assert_equals_jinja(source, talk, add_generation_prompt=generation)
