"""Answer one prompt, or with --raw continue it, on stdout.

Documents to read stand before the prompt: the files of --file or, where there are none, what is piped in beside a PROMPT.
Models follow what is asked at the end best, and a document that comes first is the same beginning for every question.
"""

from __future__ import annotations

import argparse
import json
from contextlib import closing
from typing import TYPE_CHECKING

from pyruntime.cli.options import (
    MODEL_HELP,
    UsageError,
    add_model_options,
    add_sampling_options,
    open_model,
    prepare_tokenizer,
    sampling,
    say_if_full,
    utf8,
)
from pyruntime.cli.progress import reading, until_first
from pyruntime.cli.report import report
from pyruntime.cli.sources import whole_prompt
from pyruntime.cli.terminal import Answer, note, show
from pyruntime.errors import UnsupportedError

if TYPE_CHECKING:
    from pyruntime import Model, Sampling, Stream


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "prompt", metavar="PROMPT", type=utf8, nargs="?", help="the prompt; '-' reads stdin, and so does none in a pipe"
    )
    help = "a text file to read before the prompt, '-' for stdin; may be given again"
    parser.add_argument("--file", dest="files", metavar="PATH", action="append", default=[], help=help)
    parser.add_argument("--raw", action="store_true", help="continue the prompt as it is, without the chat template")
    parser.add_argument("--json", action="store_true", help="print text, token ids, finish reason and timings as JSON")
    help = "with --json: the log probability of each token, and the K likeliest in its place; 0: without those"
    parser.add_argument("--logprobs", type=int, metavar="K", help=help)
    add_model_options(parser)
    add_sampling_options(parser)


def run(args: argparse.Namespace) -> int:
    if args.raw and args.system is not None:
        raise UsageError("--system is part of the chat template, which --raw leaves out")
    if args.logprobs is not None and not args.json:
        raise UsageError("--logprobs are shown with --json")
    if args.logprobs is not None and not 0 <= args.logprobs <= 1024:
        raise UsageError(f"--logprobs must be between 0 and 1024, not {args.logprobs}")
    prompt = whole_prompt(args.prompt, args.files)  # before the model is loaded: mistakes are told at once
    chosen = sampling(args)
    with open_model(args) as model:
        prepare_tokenizer(model)
        answer = Answer()
        with closing(_start(model, prompt, chosen, args)) as stream:
            try:
                for reasoning, text in until_first(stream.parts(), reading(stream)):
                    if not args.json:
                        answer.think(reasoning)
                        answer.write(text)
            except KeyboardInterrupt:
                pass  # what came so far is still an answer; its finish_reason says "interrupted"
            finally:
                if not args.json:
                    answer.end()
        result = stream.result
        if args.json:
            print(json.dumps(report(args.model, result)))
        say_if_full(model, result, args.max_tokens)
        if result.finish_reason == "interrupted":
            raise KeyboardInterrupt
        return 0


def _start(model: Model, prompt: str, chosen: Sampling, args: argparse.Namespace) -> Stream:
    limits = {"max_tokens": args.max_tokens, "stop": args.stop, "logprobs": args.logprobs}
    if not args.raw and model.chat_template is None:
        if args.system is not None:
            raise UnsupportedError(f"{args.model} has no chat template, and so no place for a --system message")
        note("pyruntime: no chat template in the model: plain completion")
    if args.raw or model.chat_template is None:
        if args.show_prompt:
            show(model.render(prompt))
        return model.stream(prompt, sampling=chosen, **limits)
    system = [] if args.system is None else [{"role": "system", "content": args.system}]
    messages = [*system, {"role": "user", "content": prompt}]
    if args.show_prompt:
        show(model.render(messages))
    return model.stream_chat(messages, sampling=chosen, **limits)
