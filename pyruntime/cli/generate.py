"""Answer one prompt, or with --raw continue it, on stdout."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING

from pyruntime.cli.options import (
    UsageError,
    add_model_options,
    add_sampling_options,
    decoded,
    open_model,
    sampling,
    say_if_full,
    utf8,
)
from pyruntime.cli.terminal import Answer, say, show
from pyruntime.errors import UnsupportedError

if TYPE_CHECKING:
    from pyruntime import Generation, Model, Sampling, Stream


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a GGUF file, or a name of the catalogue")
    parser.add_argument("prompt", metavar="PROMPT", type=utf8, nargs="?", help="the prompt; '-' or none reads stdin")
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
    prompt, chosen = _prompt(args.prompt), sampling(args)  # before the model is loaded: mistakes are told at once
    with open_model(args) as model:
        answer = Answer()
        with closing(_start(model, prompt, chosen, args)) as stream:
            try:
                for reasoning, text in stream.parts():
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
            print(json.dumps(_report(args.model, result)))
        say_if_full(model, result, args.max_tokens)
        return 130 if result.finish_reason == "interrupted" else 0


def _prompt(given: str | None) -> str:
    """The prompt as given or, for '-' and in a pipe, stdin without its last newline: that is echo's, not the text's."""
    if given is None and sys.stdin.isatty():
        raise UsageError("no PROMPT: give one, or pipe a text in")
    prompt = decoded(sys.stdin.buffer.read(), "stdin").removesuffix("\n") if given in (None, "-") else given
    if not prompt:
        raise UsageError("the prompt is empty")
    return prompt


def _start(model: Model, prompt: str, chosen: Sampling, args: argparse.Namespace) -> Stream:
    limits = {"max_tokens": args.max_tokens, "stop": args.stop, "logprobs": args.logprobs}
    if not args.raw and model.chat_template is None:
        if args.system is not None:
            raise UnsupportedError(f"{args.model} has no chat template, and so no place for a --system message")
        say("pyruntime: no chat template in the model: plain completion")
    if args.raw or model.chat_template is None:
        if args.show_prompt:
            show(model.render(prompt))
        return model.stream(prompt, sampling=chosen, **limits)
    system = [] if args.system is None else [{"role": "system", "content": args.system}]
    messages = [*system, {"role": "user", "content": prompt}]
    if args.show_prompt:
        show(model.render(messages))
    return model.stream_chat(messages, sampling=chosen, **limits)


def _report(model: str, result: Generation) -> dict[str, object]:
    return {
        "model": model,
        "text": result.text,
        **({"reasoning": result.reasoning} if result.reasoning else {}),
        "ids": result.ids,
        **({} if result.logprobs is None else {"logprobs": [asdict(token) for token in result.logprobs]}),
        "finish_reason": result.finish_reason,
        "prompt_tokens": result.prompt_tokens,
        "seed": result.seed,
        "timings": result.timings,
    }
