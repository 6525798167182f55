"""Talk to a model; in a pipe, every line of stdin is a turn.

At a terminal a line that begins with a slash is a command (`commands.py`); in a pipe only /exit is. With --json, in a pipe,
each turn gives one line of JSON: that of `generate --json` and `dropped_messages`, the messages left out of a full context;
for a turn that failed `model`, `text` (what came until then), `error` and `exit_code`.
"""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pyruntime.cli.options import (
    MODEL_HELP,
    UsageError,
    add_model_options,
    add_sampling_options,
    open_model,
    prepare_tokenizer,
    sampling,
)
from pyruntime.cli.terminal import note
from pyruntime.errors import UnsupportedError

if TYPE_CHECKING:
    from pyruntime import Model, Sampling, Session
    from pyruntime.cli.chat.conversation import Conversation

COMPLETION_TOKENS = 128  # of a base model's line: it knows no end of a turn, and would fill the context


def configure(parser: argparse.ArgumentParser) -> None:
    from pyruntime.catalogue import DEFAULT

    help = f"{MODEL_HELP} (default: {DEFAULT}, fetched once)"
    parser.add_argument("model", metavar="MODEL", nargs="?", default=DEFAULT, help=help)
    parser.add_argument("--json", action="store_true", help="in a pipe: print each turn as one line of JSON")
    help = "keep what is typed out of the history file, and do without it"
    parser.add_argument("--no-history", action="store_true", help=help)
    add_model_options(parser)
    add_sampling_options(parser)
    help = "a full context drops the oldest turns (default), or is an error"
    parser.add_argument("--overflow", choices=["drop", "error"], default="drop", help=help)


def run(args: argparse.Namespace) -> int:
    at_terminal = sys.stdin.isatty()
    if args.json and at_terminal:
        raise UsageError("--json is for a pipe: stdin is a terminal")
    chosen = sampling(args)  # before the model is loaded: a mistake is told at once
    with open_model(args) as model, model.session() as session:
        prepare_tokenizer(model)
        conversation = _conversation(model, session, chosen, args)
        if not at_terminal or find_spec("termios") is None:  # Windows: a line at a time, as in a pipe
            from pyruntime.cli.chat import piped

            return piped.chat(conversation, args)
        from pyruntime.cli.chat import typed

        note(f"{args.model}: {model.context} tokens of context, {model.threads} threads, {model.isa}.")
        note("Ctrl-C stops an answer, Ctrl-D or /exit leaves, /help lists the commands.")
        return typed.chat(conversation, args)


def _conversation(model: Model, session: Session, chosen: Sampling, args: argparse.Namespace) -> Conversation:
    from pyruntime.cli.chat.conversation import Completion, Conversation
    from pyruntime.cli.chat.settings import Settings

    settings = Settings(chosen, args.max_tokens, args.stop)
    if model.chat_template is not None:
        conversation = Conversation(model, session, settings, args.overflow)
        conversation.set_system(args.system)
        return conversation
    if args.system is not None:
        raise UnsupportedError(f"{args.model} has no chat template, and so no place for a --system message")
    settings.max_tokens = args.max_tokens or COMPLETION_TOKENS
    note(f"pyruntime: no chat template in the model: it continues each line, by {settings.max_tokens} tokens at most")
    return Completion(model, session, settings)
