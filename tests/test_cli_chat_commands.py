"""The commands of a chat at a terminal, and what they say to a mistake."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from terminal_screen import ENTER, ScreenTerminal, pasted

from pyruntime.cli.chat.commands import COMMANDS

SPEED = "4.0 tokens/s"


@pytest.fixture
def chat(model_file: Path, tmp_path: Path) -> Iterator[ScreenTerminal]:
    with ScreenTerminal("chat", str(model_file), columns=160, cwd=tmp_path) as terminal:
        terminal.until_prompt()
        yield terminal


def said(chat: ScreenTerminal, question: str) -> str:
    """The answer, without the line under it."""
    answer, _, speed = chat.ask(question).rpartition("\n")
    assert speed.endswith(SPEED)
    return answer


def messages(chat: ScreenTerminal, folder: Path) -> list[Any]:
    """What the conversation holds: (role, content) of each."""
    chat.ask("/save now.json")
    document = json.loads((folder / "now.json").read_text())
    return [(message["role"], message["content"]) for message in document["messages"]]


MISTAKES = {
    "/nothing": "/nothing is no command; /help lists the commands (//nothing sends it as text)",
    "/sav a": "/sav is no command; is it /save? (//sav sends it as text)",
    "/reg": "/reg is no command; is it /regenerate? (//reg sends it as text)",
    "/help me": "/help takes no argument",
    "/reset all": "/reset takes no argument",
    "/regenerate 2": "/regenerate takes no argument",
    "/undo 2": "/undo takes no argument",
    "/stats all": "/stats takes no argument",
    "/copy it": "/copy takes no argument",
    "/exit now": "/exit takes no argument",
    "/bye now": "/bye takes no argument",
    "/regenerate": "there is no answer to regenerate",
    "/undo": "there is nothing to undo",
    "/copy": "there is no answer to copy",
    "/save": "/save needs the name of a file",
    "/load": "/load needs the name of a file",
    "/load nothing.json": "nothing.json: No such file or directory",
    "/load .": ".: no regular file",
    "/load model.gguf": "model.gguf: no JSON: Expecting value: line 1 column 1 (char 0)",
    "/save .": ".: no regular file; choose another name to save to",
    "/save no/folder": "no/folder: No such file or directory",
    "/save model.gguf": "model.gguf: no JSON: Expecting value: line 1 column 1 (char 0); choose another name to save to",
    "/set temperature": "/set temperature needs a value; /set alone shows all",
    "/set temperatur 1": "/set temperatur: there is no such setting; is it temperature?",
    "/set temp 1": "/set temp: there is no such setting; is it temperature?",
    "/set heat 1": "/set heat: there is no such setting",
    "/set temperature hot": "/set temperature: 'hot' is no number, no list of texts and not 'default'",
    "/set temperature -1": "/set: temperature must be a finite number >= 0, not -1",
    "/set seed 1.5": "/set: seed must be",
    "/set max_tokens 0": "/set: max_tokens must be a whole number of at least 1, or none, not 0",
    "/set max_tokens true": "/set: max_tokens must be a whole number of at least 1, or none, not True",
    "/set stop END": "/set stop: 'END' is no number, no list of texts and not 'default'",
    '/set stop [""]': "/set: stop must be a list of texts such as [\"END\"], not ['']",
    '/set logit_bias {"x": 1}': "/set: logit_bias",
}


def test_mistakes(chat: ScreenTerminal, tmp_path: Path) -> None:
    """One line each, and nothing is changed."""
    before = {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}
    for command, error in MISTAKES.items():
        answer = chat.ask(command)
        assert answer.startswith(f"pyruntime: {error}"), command
        assert "\n" not in answer, command
    assert {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()} == before
    assert "*" not in re.sub(r'\["\\n.*', "", chat.ask("/set"))  # every setting is the default still
    assert said(chat, "history") == '[{"role": "user", "content": "history"}]'


def test_help_names_every_command(chat: ScreenTerminal) -> None:
    lines = chat.ask("/help").splitlines()
    for command, line in zip(COMMANDS, lines, strict=False):
        assert re.fullmatch(rf"/{command.name} +{re.escape(command.argument)} +{re.escape(command.summary)}", line)
    assert lines[len(COMMANDS)].startswith("Alt-Enter")


def test_system(chat: ScreenTerminal, tmp_path: Path) -> None:
    assert chat.ask("/system") == "there is no system message"
    assert chat.ask("/system Be brief.") == ""
    assert chat.ask("/system") == "Be brief."
    assert said(chat, "say a") == "a"
    assert chat.ask("/system Be long.") == ""
    assert messages(chat, tmp_path) == [("system", "Be long."), ("user", "say a"), ("assistant", "a")]
    assert chat.ask("/reset") == ""
    assert messages(chat, tmp_path) == [("system", "Be long.")]
    assert chat.ask("/system none") == ""
    assert messages(chat, tmp_path) == []


def test_regenerate_and_undo(chat: ScreenTerminal, tmp_path: Path) -> None:
    chat.ask("/set seed 41")
    assert said(chat, "say a") == "a"
    assert json.loads(said(chat, "options"))["seed"] == 41
    assert json.loads(said(chat, "/regenerate"))["seed"] == 42  # with the same seed the same would come
    assert json.loads(said(chat, "/regenerate"))["seed"] == 43
    assert [content for _, content in messages(chat, tmp_path)][:3] == ["say a", "a", "options"]
    assert len(messages(chat, tmp_path)) == 4
    assert chat.ask("/undo") == "forgotten: options"
    assert messages(chat, tmp_path) == [("user", "say a"), ("assistant", "a")]
    assert chat.ask("/undo") == "forgotten: say a"
    assert messages(chat, tmp_path) == []


def test_save_and_load(chat: ScreenTerminal, tmp_path: Path) -> None:
    said(chat, "say one")
    assert chat.ask("/save my talk.json") == "saved: 2 messages in my talk.json"
    said(chat, "say two")
    assert chat.ask("/save") == "saved: 4 messages in my talk.json"
    chat.ask("/reset")
    assert chat.ask("/load my talk.json") == "loaded: 4 messages of my talk.json\nthe last question was: say two"
    assert [m["content"] for m in json.loads(said(chat, "history"))] == ["say one", "one", "say two", "two", "history"]
    document = json.loads((tmp_path / "my talk.json").read_text())
    (tmp_path / "other.json").write_text(json.dumps(document | {"model": "another"}))
    assert chat.ask("/load other.json").startswith("loaded: 4 messages of other.json, a conversation with another\n")


DAMAGES: dict[str, Any] = {
    "format": ({"format": "other"}, 'no conversation of pyruntime (its "format" is not "pyruntime-conversation")'),
    "version": ({"version": 2}, "version 2, and this is version 1"),
    "model": ({"model": 3}, "model: not a text"),
    "messages": ({"messages": {}}, "messages: not a list"),
    "role": ({"messages": [{"role": "assistant", "content": ""}]}, "messages[0].role: 'assistant' where 'user' comes"),
    "content": ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content: not a text"),
    "fields": ({"messages": [{"role": "user"}]}, "messages[0]: without a role and a content"),
    "more fields": ({"messages": [{"role": "user", "content": "", "\x1b]0;": 1}]}, "messages[0]: unknown field '\\x1b]0;'"),
    "last": ({"messages": [{"role": "user", "content": "a"}]}, "messages: the last question has no answer"),
}  # fmt: skip


def test_files_that_are_no_conversation(chat: ScreenTerminal, tmp_path: Path) -> None:
    said(chat, "say one")
    chat.ask("/save good.json")
    good = json.loads((tmp_path / "good.json").read_text())
    for name, (damage, error) in DAMAGES.items():
        (tmp_path / "bad.json").write_text(json.dumps(good | damage))
        assert chat.ask("/load bad.json") == f"pyruntime: bad.json: {error}", name
    (tmp_path / "bad.json").write_bytes(b'{"a": "\xff"}')
    assert chat.ask("/load bad.json") == "pyruntime: bad.json: not UTF-8: byte 0xff at 7"
    assert messages(chat, tmp_path) == [("user", "say one"), ("assistant", "one")]


def test_stats(chat: ScreenTerminal) -> None:
    assert chat.ask("/stats").splitlines() == ["context   44 of 512 tokens held", "messages  0"]
    said(chat, "say one")
    assert chat.ask("/stats").splitlines() == [
        "context   44 of 512 tokens held",
        "messages  2",
        "prompt    3 tokens, 1 of them known already, 8.0 tokens/s",
        "answer    3 tokens, 4.0 tokens/s, seed 7",
    ]


def test_set(chat: ScreenTerminal) -> None:
    chosen = {"temperature": 0.25, "top_k": 3, "stop": ["END", "\n"], "max_tokens": 7, "logit_bias": {"5": -1.5}}
    for name, value in chosen.items():
        assert chat.ask(f"/set {name.replace('_', '-')} {json.dumps(value)}") == ""
    options = json.loads(said(chat, "options").replace("\n", ""))
    assert {name: options[name] for name in chosen} == chosen
    marked = [line for line in chat.ask("/set").splitlines() if line.startswith("*")]
    assert {line.split()[1] for line in marked} == set(chosen)
    for name in chosen:
        assert chat.ask(f"/set {name} default") == ""
    assert not [line for line in chat.ask("/set").splitlines() if line.startswith("*")]


def test_copy(chat: ScreenTerminal, tmp_path: Path) -> None:
    """Through the terminal, in base64: what the text holds is not obeyed."""
    (tmp_path / "answer").write_text("é\x1b]52;c;YQ==\x07")
    said(chat, "read answer")
    before = len(chat.raw)
    assert chat.ask("/copy") == "copied: 13 characters, if the terminal allows it"
    (copied,) = re.findall(rb"\x1b\]52;c;([^\x07]*)\x07", chat.raw[before:])
    assert base64.b64decode(copied).decode() == (tmp_path / "answer").read_text()
    said(chat, "say a")
    assert chat.ask("/copy") == "copied: 1 character, if the terminal allows it"


def test_exit(chat: ScreenTerminal) -> None:
    chat.type(f"  /exit  {ENTER}")
    assert chat.finish() == 0


def test_a_base_model_has_no_system_message(model_file: Path) -> None:
    model_file.write_text("base")
    with ScreenTerminal("chat", str(model_file), columns=200) as base:
        assert base.ask("/system x").endswith("has no chat template, and so no place for a system message")
        assert said(base, "once") == "<once>"


def test_names_with_control_characters(chat: ScreenTerminal, tmp_path: Path) -> None:
    """No file gets one; a file that has one can be read, and its name is shown escaped."""
    said(chat, "say one")
    for name in ("a\x1b]0;title\x07b", "a\nb", "a\x9bb", "a\x7fb"):
        chat.type(pasted(f"/save {name}"))
        answer = chat.ask("")
        assert answer.endswith(": a file name with a control character; choose another name to save to"), name
    assert sorted(file.name for file in tmp_path.iterdir() if file.is_file()) == ["model.gguf"]
    chat.ask("/save good.json")
    (tmp_path / "good.json").rename(tmp_path / "a\x1b]0;title\x07b")
    chat.type(pasted("/load a\x1b]0;title\x07b"))
    assert chat.ask("").startswith("loaded: 2 messages of a\\x1b]0;title\\x07b")
    assert chat.screen.titles == []
