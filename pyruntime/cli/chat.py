"""Talk to a model; in a pipe, every line of stdin is a turn."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from pyruntime.cli.options import (
    add_model_options,
    add_sampling_options,
    decoded,
    open_model,
    sampling,
    say_if_full,
)
from pyruntime.cli.terminal import Answer, say, say_error, show
from pyruntime.errors import PyruntimeError, UnsupportedError

if TYPE_CHECKING:
    from pyruntime import Model, Sampling, Session, Stream

PROMPT = "> "
COMPLETION_TOKENS = 128  # of a base model's line: it knows no end of a turn, and would fill the context


def configure(parser: argparse.ArgumentParser) -> None:
    from pyruntime.catalogue import DEFAULT

    help = f"a GGUF file, or a name of the catalogue (default: {DEFAULT}, fetched once)"
    parser.add_argument("model", metavar="MODEL", nargs="?", default=DEFAULT, help=help)
    add_model_options(parser)
    add_sampling_options(parser)
    help = "a full context drops the oldest turns (default), or is an error"
    parser.add_argument("--overflow", choices=["drop", "error"], default="drop", help=help)


def run(args: argparse.Namespace) -> int:
    chosen = sampling(args)  # before the model is loaded: a mistake is told at once
    with open_model(args) as model, model.session() as session:
        chat = _chat(model, session, chosen, args)
        if not sys.stdin.isatty():
            return _piped(chat, args.debug)
        say(f"{args.model}: {model.context} tokens of context, {model.threads} threads, {model.isa}.")
        say("Ctrl-C stops an answer, Ctrl-D or /exit leaves.")
        return _typed(chat, args.debug)


def _chat(model: Model, session: Session, chosen: Sampling, args: argparse.Namespace) -> Chat:
    if model.chat_template is not None:
        return Chat(model, session, chosen, args)
    if args.system is not None:
        raise UnsupportedError(f"{args.model} has no chat template, and so no place for a --system message")
    args.max_tokens = args.max_tokens or COMPLETION_TOKENS
    say(f"pyruntime: no chat template in the model: it continues each line, by {args.max_tokens} tokens at most")
    return Completion(model, session, chosen, args)


class Chat:
    """A conversation with a model: a list of messages, rendered whole for each turn; the session computes what is new."""

    def __init__(self, model: Model, session: Session, chosen: Sampling, args: argparse.Namespace) -> None:
        self.messages: list[dict[str, str]] = (
            [] if args.system is None else [{"role": "system", "content": args.system}]
        )
        self._model = model
        self._session = session
        self._sampling = chosen
        self._limits = {"max_tokens": args.max_tokens, "stop": args.stop}
        self._overflow = args.overflow
        self._show_prompt = args.show_prompt

    def answer(self, text: str) -> None:
        """One turn: `text` is the user's, the answer goes to stdout.

        However the answer ends, by itself, by an error or by Ctrl-C, what was seen of it stays in the conversation.
        A question to which nothing was answered is taken back: two of one role in a row are an error to some templates.
        """
        self.messages.append({"role": "user", "content": text})
        answer = Answer()
        thought, said = "", ""
        try:
            with closing(self._stream()) as stream:
                self._forget(stream.result.dropped_messages)
                if self._show_prompt:
                    show(self._model.render(self._prompt()))
                for reasoning, piece in stream.parts():
                    thought += reasoning
                    said += piece
                    answer.think(reasoning)
                    answer.write(piece)
        finally:
            if said:
                thoughts = {"reasoning_content": thought} if thought else {}  # templates choose what to keep of them
                self.messages.append({"role": "assistant", "content": said, **thoughts})
            else:
                self.messages.pop()
            answer.end()
        say_if_full(self._model, stream.result, self._limits["max_tokens"])

    def _prompt(self) -> str | list[dict[str, str]]:
        return self.messages

    def _stream(self) -> Stream:
        return self._model.stream_chat(
            self.messages, overflow=self._overflow, session=self._session, sampling=self._sampling, **self._limits
        )

    def _forget(self, n: int) -> None:
        """Leaves out the n oldest messages, as the prompt did, and says so."""
        if n == 0:
            return
        say(f"pyruntime: the context of {self._model.context} tokens is full: the oldest messages ({n}) are left out")
        first = 1 if self.messages[0]["role"] == "system" else 0
        del self.messages[first : first + n]


class Completion(Chat):
    """With a base model, which knows no turns: it continues what is typed, each line by itself."""

    def _prompt(self) -> str:
        return self.messages[-1]["content"]

    def _stream(self) -> Stream:
        return self._model.stream(self._prompt(), sampling=self._sampling, **self._limits)


def _piped(chat: Chat, debug: bool) -> int:
    """A turn a line; a turn that fails is told on stderr, and the last failure is the exit code."""
    code = 0
    for number, line in enumerate(sys.stdin.buffer, 1):
        turn = decoded(line, f"line {number} of stdin").strip()
        if turn == "/exit":
            break
        if turn:
            code = _turn(chat, turn, debug) or code
    return code


def _typed(chat: Chat, debug: bool) -> int:
    """Turns from a person at a terminal, until Ctrl-D, /exit, or Ctrl-C twice in a row."""
    with suppress(ImportError):
        import readline  # noqa: F401 - its import gives input() line editing
    hinted = False
    while True:
        try:
            turn = _ask().strip()
        except EOFError:
            say("")
            return 0
        except KeyboardInterrupt:
            say("")
            if hinted:
                return 130
            say("(Ctrl-C once more, Ctrl-D or /exit leaves)")
            hinted = True
            continue
        hinted = False
        if turn == "/exit":
            return 0
        if turn:
            with suppress(KeyboardInterrupt):
                _turn(chat, turn, debug)


def _turn(chat: Chat, text: str, debug: bool) -> int:
    """Answer; return the exit code that its error stands for. The conversation goes on after one."""
    try:
        chat.answer(text)
    except PyruntimeError as error:
        say_error(str(error), debug)
        return error.exit_code
    return 0


def _ask() -> str:
    if sys.stdout.isatty():
        return input(PROMPT)
    print(PROMPT, end="", file=sys.stderr, flush=True)  # stdout is for answers alone, and input() would prompt there
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line
