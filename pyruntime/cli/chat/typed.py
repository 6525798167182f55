"""A chat with a person at a terminal."""

from __future__ import annotations

import argparse
import sys

from pyruntime.cli.chat import modes
from pyruntime.cli.chat.commands import Commands, Leave, parse, speed
from pyruntime.cli.chat.conversation import Conversation, Turn
from pyruntime.cli.chat.history import History, history_file
from pyruntime.cli.chat.markdown import MarkdownAnswer
from pyruntime.cli.chat.notes import remark, say_dropped
from pyruntime.cli.chat.prompt import EditingReader, PlainReader, Reader, unquoted
from pyruntime.cli.options import UsageError, say_if_full
from pyruntime.cli.progress import reading, until_first
from pyruntime.cli.terminal import Answer, moves_cursor, note, say, say_error, show, styles
from pyruntime.errors import PyruntimeError


def chat(conversation: Conversation, args: argparse.Namespace) -> int:
    """Turns until Ctrl-D or /exit; returns the exit code. KeyboardInterrupt for Ctrl-C twice in a row."""
    with modes.kept_sane():
        return _Chat(conversation, args).loop()


class _Chat:
    def __init__(self, conversation: Conversation, args: argparse.Namespace) -> None:
        self._conversation = conversation
        self._args = args
        self._commands = Commands(conversation, args.model, show, _copy, self._answer)
        self._reader = _reader(no_history=args.no_history)

    def loop(self) -> int:
        if isinstance(self._reader, EditingReader):
            modes.without_echo()
        hinted = False
        while True:
            try:
                turn = unquoted(self._reader.read())
            except EOFError:
                say("")
                return 0
            except KeyboardInterrupt:
                if isinstance(self._reader, PlainReader):
                    say("")
                if hinted:
                    raise
                say("(Ctrl-C once more, Ctrl-D or /exit leaves)")
                hinted = True
                continue
            hinted = False
            try:
                self._turn(turn)
            except Leave:
                return 0
            except KeyboardInterrupt:
                continue  # it stops what runs, not the chat
            except PyruntimeError as error:
                say_error(str(error), self._args.debug)

    def _turn(self, text: str) -> None:
        if command := parse(text):
            self._commands.run(*command)
        elif text:
            self._answer(self._conversation.ask(text.removeprefix("/") if text.startswith("//") else text))

    def _answer(self, turn: Turn) -> None:
        """Shows an answer as it comes. Ctrl-C ends it: what came so far is shown, and in the conversation."""
        model, settings = self._conversation.model, self._conversation.settings
        answer = MarkdownAnswer() if styles(sys.stdout) else Answer()
        with modes.answering():
            try:
                with turn:
                    say_dropped(model, turn.dropped)
                    if self._args.show_prompt:
                        show(self._conversation.prompt())
                    try:
                        for reasoning, text in until_first(turn, reading(turn)):
                            answer.think(reasoning)
                            answer.write(text)
                    except KeyboardInterrupt:
                        pass
            finally:
                answer.end()
            remark(speed(turn.result))
            say_if_full(model, turn.result, settings.max_tokens)


def _reader(no_history: bool) -> Reader:
    """Where turns come from. The prompt is shown where the answers are or, where those go elsewhere, on stderr."""
    out = sys.stdout if sys.stdout.isatty() else sys.stderr
    if not (out.isatty() and moves_cursor()):
        return PlainReader(out)
    history = None
    if not no_history:
        try:
            history = History(history_file())
        except OSError as error:
            note(f"pyruntime: no history: {error.filename or 'its folder'}: {error.strerror or error}")
    return EditingReader(out, history)


def _copy(text: str) -> None:
    if not (sys.stdout.isatty() and moves_cursor()):
        raise UsageError("/copy needs a terminal")
    modes.copy(text)
