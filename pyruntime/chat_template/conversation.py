"""A conversation as a template's variables: checked, copied, and with what templates look for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyruntime.chat_template.values import Dict, List, plain


def variables(messages: Any, tools: Any, add_generation_prompt: bool, extra: Mapping[str, Any]) -> dict[str, Any]:
    """What `ChatTemplate.render` documents, as a dict of plain data."""
    if isinstance(messages, str | bytes) or not isinstance(messages, Sequence):
        raise TypeError(f"messages must be a list of mappings, not {type(messages).__name__}")
    for i, message in enumerate(messages):
        _check_message(message, f"messages[{i}]")
    return {
        "messages": plain([_with_thoughts(message) for message in messages], "messages"),
        "tools": plain(tools, "tools"),
        "add_generation_prompt": bool(add_generation_prompt),
        **{name: plain(value, name) for name, value in extra.items()},
    }


def _with_thoughts(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """An assistant's reasoning under the names that templates look for: most by the first, gpt-oss by the second."""
    names = ("reasoning_content", "thinking", "reasoning")
    thought = next((message[name] for name in names if isinstance(message.get(name), str)), None)
    return message if thought is None else {"reasoning_content": thought, "thinking": thought, **message}


def folded(messages: list[dict[str, Any]]) -> List:
    """The system message as the beginning of the first user message, or as one."""
    system, *rest = messages
    if rest and rest[0]["role"] == "user":
        rest[0] = Dict(rest[0] | {"content": f"{system['content'].strip()}\n\n{rest[0]['content']}"})
    else:
        rest.insert(0, Dict(system | {"role": "user"}))
    return List(rest)


def _check_message(message: Any, where: str) -> None:
    if not isinstance(message, Mapping):
        raise TypeError(f"{where} must be a mapping with 'role' and 'content', not {type(message).__name__}")
    # An assistant's call of a tool has no content.
    needed = ("role",) if message.get("content") is None and message.get("tool_calls") else ("role", "content")
    for key in needed:
        if key not in message:
            raise ValueError(f"{where} has no {key!r}")
        if not isinstance(message[key], str):
            raise TypeError(f"{where}[{key!r}] must be str, not {type(message[key]).__name__}")
    if not message["role"]:
        raise ValueError(f"{where}['role'] is empty")
