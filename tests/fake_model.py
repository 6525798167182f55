"""A model that answers by rule, to test the command line without one: `python fake_model.py VERB ...`.

The last message says what it does: "say TEXT", "think THOUGHT: TEXT", "history" (the messages as JSON),
"options" (of the call, as JSON), "forever", "stubborn" (the same, and slow to stop), "controls", "unicode", "nothing",
"full" (the context ends), "drop TEXT" (for which two messages are left out), "read FILE" (its text), "fail ERROR" and
"half ERROR" (after a piece). Anything else is said again.
"""

import fcntl
import json
import signal
import sys
import termios
import threading
import types
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pyruntime import errors
from pyruntime.__main__ import main
from pyruntime.generate import TokenLogprob
from pyruntime.sampling import Sampling

CONTROLS = "a\x1b[31mb\x07\x9bc\x85\x7f\r\td\n"
UNICODE = "é🙂\u0085"
TIMINGS = {
    "cached_tokens": 1,
    "prefill_tokens": 2,
    "prefill_seconds": 0.25,
    "generate_tokens": 2,
    "generate_seconds": 0.5,
}


@dataclass
class Generation:
    text: str = ""
    ids: list[int] = field(default_factory=list)
    finish_reason: str = "stop"
    prompt_tokens: int = 3
    seed: int = 7
    timings: dict[str, float] = field(default_factory=lambda: dict(TIMINGS))
    reasoning: str = ""
    logprobs: list[TokenLogprob] | None = None
    dropped_messages: int = 0


class Stream:
    def __init__(
        self, pieces: Iterator[str], finish_reason: str = "stop", thought: str = "", stubborn: bool = False
    ) -> None:
        self.result = Generation(finish_reason=finish_reason)
        self._pieces = pieces
        self._thought = thought
        self._stubborn = stubborn
        self._ended = False

    def parts(self) -> Iterator[tuple[str, str]]:
        for char in self._thought:
            self.result.reasoning += char
            yield char, ""
        for piece in self._pieces:
            self.result.text += piece
            self.result.ids.append(len(self.result.ids))
            yield "", piece
        self._ended = True

    @property
    def prefill(self) -> tuple[int, int]:
        return 1, 2

    def close(self) -> None:
        """Wherever Ctrl-C came, in the model or while its words were written, the answer has not ended by itself."""
        if self._stubborn:
            print("closing", file=sys.stderr, flush=True)
            threading.Event().wait(0.5)
        if not self._ended:
            self.result.finish_reason = "interrupted"


class Session:
    def __len__(self) -> int:
        return 44

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Model:
    context = 512
    trained_context = 1024
    isa = "fake"
    tokenizer = types.SimpleNamespace(encode=lambda _: [])

    def __init__(
        self, path: Path, threads: int | None = None, context: int | None = None, kv_type: str = "f16",
        ram: int | None = None, progress: Any = None, draft: "Model | None" = None, speculation: bool = True,
    ) -> None:  # fmt: skip
        self.path = str(path)
        self.draft = draft
        self.speculation = speculation
        self.threads = threads or 2
        self.context = context or Model.context
        self.kv_type = kv_type
        text = Path(path).read_text(errors="replace")
        self.chat_template = None if text == "base" else "template"
        if text.startswith("fail "):
            raise error_named(text.removeprefix("fail "))

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def session(self) -> Session:
        return Session()

    def render(self, messages: str | list[dict[str, str]]) -> str:
        return f"<s>{messages if isinstance(messages, str) else json.dumps(messages)}\n\x1b"

    def stream(
        self, prompt: str, *, max_tokens: int | None, stop: list[str], sampling: Sampling, logprobs: int | None = None
    ) -> Stream:
        return Stream(iter([f"<{prompt}>"]))

    def stream_chat(
        self,
        messages: list[dict[str, str]],
        *,
        sampling: Sampling,
        max_tokens: int | None,
        stop: list[str],
        logprobs: int | None = None,
        overflow: str = "error",
        session: Session | None = None,
    ) -> Stream:
        verb, _, rest = messages[-1]["content"].partition(" ")
        options = asdict(sampling) | {
            "max_tokens": max_tokens,
            "stop": stop,
            "context": self.context,
            "speculation": self.speculation,
            "draft": self.draft and [self.draft.path, self.draft.context],
            "kv_type": self.kv_type,
        }
        answers: dict[str, Any] = {
            "say": lambda: iter(rest),
            "think": lambda: iter(rest.partition(": ")[2]),
            "history": lambda: iter([json.dumps(messages)]),
            "options": lambda: iter([json.dumps(options)]),
            "forever": ticks,
            "stubborn": ticks,
            "controls": lambda: iter(CONTROLS),
            "unicode": lambda: iter(UNICODE),
            "nothing": lambda: iter(()),
            "drop": lambda: iter(rest),
            "full": lambda: iter(["cut"]),
            "read": lambda: iter(Path(rest).read_bytes().decode()),
            "fail": lambda: failing((), rest),
            "half": lambda: failing(["half"], rest),
        }
        thought = rest.partition(": ")[0] if verb == "think" else ""
        pieces = answers.get(verb, lambda: iter(messages[-1]["content"]))()
        stream = Stream(pieces, "length" if verb == "full" else "stop", thought, stubborn=verb == "stubborn")
        if logprobs is not None:
            stream.result.logprobs = [TokenLogprob(5, -0.5, [(5, -0.5), (6, -1.25)][:logprobs])]
        if overflow == "drop" and verb == "drop":
            stream.result.dropped_messages = 2
        return stream


def ticks() -> Iterator[str]:
    print("ticking", file=sys.stderr, flush=True)  # a test may interrupt from here on
    while True:
        threading.Event().wait(0.005)
        yield "tick "


def failing(pieces: Any, name: str) -> Iterator[str]:
    yield from pieces
    raise error_named(name)


def error_named(name: str) -> Exception:
    kind = getattr(errors, name, None) or {"MemoryError": MemoryError, "TypeError": TypeError}[name]
    error: Exception = kind(f"the {name} of\x1b[31m a test")
    return error


def module() -> types.ModuleType:
    """What stands in for `pyruntime.model`."""
    fake = types.ModuleType("pyruntime.model")
    fake.Model = Model  # type: ignore[attr-defined]
    return fake


def install() -> None:
    """Make this process one that has the model of this file, and takes Ctrl-C even where tests run in the background."""
    sys.modules["pyruntime.model"] = module()
    signal.signal(signal.SIGINT, signal.default_int_handler)


def take_terminal() -> None:
    """Be controlled by the pseudo-terminal that stdin is, if it is one: its Ctrl-C reaches nobody else."""
    if sys.stdin and sys.stdin.isatty():
        fcntl.ioctl(sys.stdin, termios.TIOCSCTTY, 0)


if __name__ == "__main__":
    install()
    take_terminal()
    sys.exit(main())
