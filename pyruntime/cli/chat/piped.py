"""A chat in a pipe: every line is a turn, and so is every line of the answers with --json."""

from __future__ import annotations

import argparse
import json
import sys

from pyruntime.cli.chat.conversation import Conversation
from pyruntime.cli.chat.notes import say_dropped
from pyruntime.cli.options import decoded, say_if_full
from pyruntime.cli.progress import reading, until_first
from pyruntime.cli.report import report
from pyruntime.cli.terminal import Answer, say_error, show
from pyruntime.errors import PyruntimeError


def chat(conversation: Conversation, args: argparse.Namespace) -> int:
    """Turns until the end or /exit. One that fails is told on stderr, and the last failure is the exit code."""
    code = 0
    for number, line in enumerate(sys.stdin.buffer, 1):
        turn = decoded(line, f"line {number} of stdin").strip()
        if turn == "/exit":
            break
        if turn:
            code = _turn(conversation, turn, args) or code
    return code


def _turn(conversation: Conversation, question: str, args: argparse.Namespace) -> int:
    """Answers; returns the exit code that its error stands for. The conversation goes on after one."""
    answer = None if args.json else Answer()
    said = ""
    try:
        try:
            with conversation.ask(question) as turn:
                say_dropped(conversation.model, turn.dropped)
                if args.show_prompt:
                    show(conversation.prompt())
                for reasoning, text in until_first(turn, reading(turn)):
                    said += text
                    if answer:
                        answer.think(reasoning)
                        answer.write(text)
        finally:
            if answer:
                answer.end()
    except PyruntimeError as error:
        say_error(str(error), args.debug)
        if args.json:
            failed = {"model": args.model, "text": said, "error": str(error), "exit_code": error.exit_code}
            print(json.dumps(failed), flush=True)
        return error.exit_code
    if args.json:
        print(json.dumps(report(args.model, turn.result) | {"dropped_messages": turn.dropped}), flush=True)
    say_if_full(conversation.model, turn.result, conversation.settings.max_tokens)
    return 0
