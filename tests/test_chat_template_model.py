"""Chat templates of a model: which one is chosen, what the model gets, and the answers of one that thinks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_gguf

from pyruntime import Model
from pyruntime.chat_template import ChatTemplate
from pyruntime.errors import GGUFError, TemplateError, UnsupportedError

USER = {"role": "user", "content": "the <|end|> of it"}
TOOLS = [{"type": "function", "function": {"name": "f"}}]


def model(tmp_path: Path, **templates: Any) -> Model:
    """A tiny model with these templates; `default` None is a file without one."""
    keys = {f"tokenizer.chat_template.{name}": source for name, source in templates.items() if name != "default"}
    if "default" in templates:
        keys["tokenizer.chat_template"] = templates["default"]
    return Model(tiny_gguf.write(tmp_path / "tiny.gguf", metadata=keys), threads=1)


def test_what_the_model_gets(tmp_path: Path) -> None:
    with model(tmp_path) as m:
        text = "<|start|>user\nthe <|end|> of it<|end|><|start|>assistant"
        assert m.render([USER]) == text
        assert m.chat_template is not None
        ids = m.chat_template.encode(m.tokenizer, [USER])
        assert m.tokenizer.decode(ids) == text
        assert m.chat([USER], max_tokens=1).prompt_tokens == len(ids)


def test_bos_is_shown_where_the_tokenizer_adds_it(tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / "tiny.gguf", metadata={"tokenizer.ggml.add_bos_token": True})
    with Model(path, threads=1) as m:
        assert m.render("once") == "<|start|>once"
        assert m.render("<|start|>once") == "<|start|>once"
        assert m.render([USER]).startswith("<|start|>user"), "the template wrote it"
    path = tiny_gguf.write(
        tmp_path / "bare.gguf",
        metadata={"tokenizer.ggml.add_bos_token": True, "tokenizer.chat_template": "{{ messages[0].content }}"},
    )
    with Model(path, threads=1) as m:
        assert m.render([{"role": "user", "content": "<|start|>a"}]) == "<|start|><|start|>a"


def test_named_templates(tmp_path: Path) -> None:
    named = {
        "default": "d{{ tools is none }}{{ x }}",
        "tool_use": "t{{ tools | length }}",
        "rag": "r",
        "broken": "{% if %}",
    }
    with model(tmp_path, **named) as m:
        assert sorted(m.chat_templates) == ["broken", "default", "rag", "tool_use"]
        assert m.render([USER], x=1) == "dTrue1"
        assert m.render([USER], tools=TOOLS) == "t1"
        assert m.render([USER], tools=TOOLS, template="default") == "dFalse"
        assert m.render([USER], template="rag") == "r"
        assert m.chat([USER], tools=TOOLS, max_tokens=1).prompt_tokens == len(m.tokenizer.encode("t1"))
        with pytest.raises(UnsupportedError, match=r"no chat template 'x', only broken, default, rag, tool_use$"):
            m.render([USER], template="x")
        with pytest.raises(TemplateError, match=r"tiny\.gguf: chat template: syntax error"):
            m.render([USER], template="broken")


def test_tools_go_to_the_default_where_there_is_no_other(tmp_path: Path) -> None:
    with model(tmp_path, default="{{ tools[0].function.name }}") as m:
        assert m.render([USER], tools=TOOLS) == "f"


def test_only_named_templates(tmp_path: Path) -> None:
    with model(tmp_path, default=None, rag="r") as m:
        assert m.chat_template is None
        assert m.render([USER], template="rag") == "r"
        with pytest.raises(UnsupportedError, match="no chat template 'default', only rag"):
            m.render([USER])


def test_a_template_that_is_no_string(tmp_path: Path) -> None:
    with model(tmp_path, rag=7) as m, pytest.raises(GGUFError, match=r"tokenizer\.chat_template\.rag: not a string"):
        m.render([USER])


def test_template_args_reach_the_template(tmp_path: Path) -> None:
    source = "{{ 'quiet' if enable_thinking is false else 'think aloud' }}"
    with model(tmp_path, default=source) as m:
        assert m.render([USER], enable_thinking=False) == "quiet"
        n = m.chat([USER], template_args={"enable_thinking": False}, max_tokens=1).prompt_tokens
        assert n == len(m.tokenizer.encode("quiet"))


def test_a_prompt_that_opens_a_thought(tmp_path: Path) -> None:
    """All that a model says is reasoning until it closes the thought; plain completion splits nothing."""
    with model(tmp_path, default="{{ messages[0].content }}<think>\n") as m:
        stream = m.stream_chat([USER], max_tokens=12, temperature=0)
        parts = list(stream.parts())
        assert not any(text for _, text in parts)
        result = stream.result
        assert (result.text, result.reasoning) == ("", "".join(reasoning for reasoning, _ in parts))
        assert result.reasoning
        plain = m.generate(m.render([USER]).replace("<|end|>", "the"), max_tokens=12, temperature=0)
        assert (plain.reasoning, plain.text) != ("", "")
        assert list(m.stream_chat([USER], max_tokens=12, temperature=0)) == []


NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "[{{ m.role }}] {{ m.content | trim }}\n{% endfor %}"
)


def say(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([say("user", "a")], "[user] a\n"),
        ([say("system", " Be brief.\n"), say("user", "a")], "[user] Be brief.\n\na\n"),
        ([say("system", "s"), say("user", "a"), say("assistant", "b")], "[user] s\n\na\n[assistant] b\n"),
        ([say("system", "s"), say("assistant", "b")], "[user] s\n[assistant] b\n"),
        ([say("system", "s")], "[user] s\n"),
    ],
)
def test_a_system_message_for_a_family_without_the_role(messages: list[dict[str, str]], text: str) -> None:
    assert ChatTemplate(NO_SYSTEM).render(messages) == text


def test_what_a_template_raises_else_is_told() -> None:
    with pytest.raises(TemplateError, match="roles must alternate"):
        ChatTemplate(NO_SYSTEM).render([say("system", "s"), say("user", "a"), say("user", "b")])
    with pytest.raises(TemplateError, match="never"):
        ChatTemplate("{{ raise_exception('never') }}").render([say("system", "s"), say("user", "a")])
    with pytest.raises(TemplateError, match="not supported"):  # one that is not the first
        ChatTemplate(NO_SYSTEM).render([say("user", "a"), say("system", "s")])


def test_past_thoughts_have_the_names_that_templates_read() -> None:
    source = "{% for m in messages %}{{ m.reasoning_content }}|{{ m.thinking }};{% endfor %}"
    for name in ("reasoning_content", "thinking", "reasoning"):
        thought = {**say("assistant", "b"), name: "hm"}
        assert ChatTemplate(source).render([say("user", "a"), thought]) == "|;hm|hm;"
    both = {**say("assistant", "b"), "reasoning_content": "x", "thinking": "y"}
    assert ChatTemplate(source).render([both]) == "x|y;"
