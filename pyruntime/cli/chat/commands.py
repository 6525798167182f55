"""What a line that begins with a slash does."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from pyruntime.cli.chat import saved
from pyruntime.cli.chat.conversation import Conversation, Turn
from pyruntime.cli.chat.settings import NAMES
from pyruntime.cli.options import UsageError
from pyruntime.cli.suggestion import closest
from pyruntime.cli.tables import paragraphs, wrapped
from pyruntime.cli.terminal import width_of

if TYPE_CHECKING:
    from pyruntime import Generation


class Leave(Exception):
    """The end of the chat, as it was asked for."""


class Command(NamedTuple):
    name: str
    argument: str  # as the help shows it
    summary: str


COMMANDS = [
    Command("help", "", "this list"),
    Command("system", "[TEXT|none]", "show, set or remove the system message"),
    Command("reset", "", "forget the conversation, but for the system message"),
    Command("regenerate", "", "answer the last question again"),
    Command("undo", "", "forget the last question and its answer"),
    Command("save", "[FILE]", "write the conversation to a file, at once or not at all"),
    Command("load", "FILE", "go on with a conversation that was saved"),
    Command("stats", "", "tokens, speed, and what is left of the context"),
    Command("set", "[NAME VALUE]", "show the settings, or change one: /set temperature 0.3, /set seed default"),
    Command("copy", "", "copy the last answer to the clipboard, where the terminal allows it"),
    Command("exit", "", "leave, as Ctrl-D does"),
]
_ALIASES = {"bye": "exit", "clear": "reset", "quit": "exit"}  # what other programs call them
_KEYS = [
    'Alt-Enter, or a backslash at its end, goes on with the line; """ begins a text of several lines and ends it.',
    "Ctrl-C stops an answer; up and down go through what was typed, Ctrl-R searches it. //x sends the text /x.",
]


def parse(line: str) -> tuple[str, str] | None:
    """The name and the argument of a command; None for a line to send, such as "/etc/hosts is a file"."""
    found = re.fullmatch(r"/([a-z]+)(?:\s+(.*))?", line, re.DOTALL)
    return (found[1], (found[2] or "").strip()) if found else None


class Commands:
    """The commands on a conversation. `name` is the model's; `show` gets what they answer, `copy` a text to copy, and
    `answer` a turn to go through."""

    def __init__(
        self, conversation: Conversation, name: str, show: Callable[[str], None], copy: Callable[[str], None],
        answer: Callable[[Turn], None],
    ) -> None:  # fmt: skip
        self._conversation = conversation
        self._name = name
        self._show = show
        self._to_clipboard = copy
        self._answer = answer
        self._path = ""  # of the file saved or loaded last

    def run(self, name: str, argument: str) -> None:
        """Raises Leave for /exit, UsageError for a command that is none, and what the command itself raises."""
        known = _ALIASES.get(name, name)
        command = next((command for command in COMMANDS if command.name == known), None)
        if command is None:
            near = closest(name, [command.name for command in COMMANDS])
            hint = f"is it /{near}?" if near else "/help lists the commands"
            raise UsageError(f"/{name} is no command; {hint} (//{name} sends it as text)")
        if argument and not command.argument:
            raise UsageError(f"/{name} takes no argument")
        getattr(self, f"_{command.name}")(argument)

    def _help(self, _: str) -> None:
        width = width_of(sys.stderr)
        rows = [(f"/{command.name} {command.argument}".rstrip(), command.summary) for command in COMMANDS]
        keys = [line for text in _KEYS for line in wrapped(text, width, hang=0)]
        self._show("\n".join([*paragraphs(rows, width), *keys]))

    def _system(self, text: str) -> None:
        if text:
            self._conversation.set_system(None if text == "none" else text)
        else:
            self._show(self._conversation.system or "there is no system message")

    def _reset(self, _: str) -> None:
        self._conversation.reset()

    def _regenerate(self, _: str) -> None:
        self._answer(self._conversation.again())

    def _undo(self, _: str) -> None:
        self._show(f"forgotten: {_beginning(self._conversation.undo())}")

    def _save(self, path: str) -> None:
        path = path or self._path
        if not path:
            raise UsageError("/save needs the name of a file")
        saved.save(path, self._name, self._conversation.messages)
        self._path = path
        self._show(f"saved: {_count(len(self._conversation.messages), 'message')} in {path}")

    def _load(self, path: str) -> None:
        if not path:
            raise UsageError("/load needs the name of a file")
        name, messages = saved.load(path)
        self._conversation.load(messages)
        self._path = path
        by = "" if name == self._name else f", a conversation with {_beginning(name)}"
        self._show(f"loaded: {_count(len(messages), 'message')} of {path}{by}")
        if question := next((m["content"] for m in reversed(messages) if m["role"] == "user"), ""):
            self._show(f"the last question was: {_beginning(question)}")

    def _stats(self, _: str) -> None:
        conversation = self._conversation
        held, context = len(conversation.session), conversation.model.context
        self._show(f"context   {held} of {context} tokens held")
        self._show(f"messages  {len(conversation.messages)}")
        if (last := conversation.last) is not None:
            t = last.timings
            self._show(
                f"prompt    {last.prompt_tokens} tokens, {t['cached_tokens']:.0f} of them known already, "
                f"{_rate(t['prefill_tokens'], t['prefill_seconds'])}"
            )
            self._show(f"answer    {speed(last)}, seed {last.seed}")

    def _set(self, argument: str) -> None:
        name, _, value = argument.partition(" ")
        if not argument:
            self._show("\n".join(self._conversation.settings.lines()))
        elif not value.strip():
            raise UsageError(f"/set {name} needs a value; /set alone shows all")
        else:
            self._conversation.settings.set(name, value.strip())

    def _copy(self, _: str) -> None:
        answer = self._conversation.answer
        if answer is None:
            raise UsageError("there is no answer to copy")
        self._to_clipboard(answer)
        self._show(f"copied: {_count(len(answer), 'character')}, if the terminal allows it")

    def _exit(self, _: str) -> None:
        raise Leave


def completions(line: str) -> list[str]:
    """What the line may become: a command's name, or that of a setting."""
    if line.startswith("/set "):
        return [f"/set {name}" for name in NAMES if name.startswith(line.removeprefix("/set "))]
    if line.startswith("/"):
        return [f"/{command.name}" for command in COMMANDS if command.name.startswith(line[1:])]
    return []


def speed(result: Generation) -> str:
    """How many tokens an answer has, and how fast they came."""
    interrupted = ", interrupted" if result.finish_reason == "interrupted" else ""
    rate = _rate(result.timings["generate_tokens"], result.timings["generate_seconds"])
    return f"{_count(len(result.ids), 'token')}, {rate}{interrupted}"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _rate(tokens: float, seconds: float) -> str:
    return f"{tokens / seconds:.1f} tokens/s" if seconds > 0 else "no time"


def _beginning(text: str) -> str:
    """The first 60 characters of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:59]}…"
