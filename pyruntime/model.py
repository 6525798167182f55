"""The public API: a model, what it says, and the numbers behind it."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Unpack, get_args, overload

import numpy as np
from numpy.typing import NDArray

from pyruntime import _core, arch
from pyruntime.errors import GGUFError, printable
from pyruntime.generate import Generation, Request, Stream, run
from pyruntime.memory_plan import MAX_TOKENS, MemoryPlan, fitted, memory_needs
from pyruntime.overflow import Overflow, fit
from pyruntime.prompts import new_job, new_stream, prompt_ids, rendered
from pyruntime.reasoning import Splitter
from pyruntime.sampling import Sampling, SamplingOptions, choose
from pyruntime.session import Ids, Session, as_ids
from pyruntime.speculation import Speculation, require_same_vocabulary
from pyruntime.system import MAX_THREADS, default_threads

if TYPE_CHECKING:
    from pyruntime.chat_template import ChatTemplate, ChatTemplates
    from pyruntime.chat_template import Prompt as Rendered
    from pyruntime.plan import Plan
    from pyruntime.tokenizer import Tokenizer

Prompt = str | Sequence[int]
Message = Mapping[str, Any]
KVType = Literal["f16", "f32", "q8_0"]

_KV_VERSION = 1  # of how keys and values lie in a page, and of the numerics that make them: saved sessions depend on it


class Model:
    """A GGUF model, loaded.

    path: the file (the first one of a split model).
    threads: default is the physical cores that this process may use.
    context: positions that a conversation may have; default the model's own, at most 8,192 and what fits comfortably.
    kv_type: how keys and values are kept. q8_0 takes about half the memory of f16 and is a little less exact (docs/numerics.md).
    ram: bytes that the process may take in all; default is what the system and the cgroup have left.
    progress: called while weights load, progress(done, total) in bytes, at most every 20 ms.
    draft: a smaller model of the same vocabulary, which guesses tokens that this one checks several at a time; it stays open.
    speculation: whether tokens are guessed at all, without a draft model out of the text itself. The results are the same bits,
        and it adapts itself so that it costs at most 1 % of the time and that of a token (docs/performance.md, "Speculation").

    Raises GGUFError (a bad file), UnsupportedError (an architecture, type or feature of another version) or MemoryLimitError
    (weights and context do not fit), before memory is taken. Safe to use from several threads: their steps queue.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        threads: int | None = None,
        context: int | None = None,
        kv_type: KVType = "f16",
        ram: int | None = None,
        progress: Callable[[int, int], object] | None = None,
        draft: Model | None = None,
        speculation: bool = True,
    ) -> None:
        self.path = os.fspath(path)
        if threads is not None and not 1 <= operator.index(threads) <= MAX_THREADS:
            raise ValueError(f"threads must be between 1 and {MAX_THREADS}, not {threads}")
        if context is not None and operator.index(context) < 1:
            raise ValueError(f"context must be at least 1, not {context}")
        if kv_type not in get_args(KVType):
            raise ValueError(f"kv_type must be one of {', '.join(get_args(KVType))}, not {kv_type!r}")
        if ram is not None and operator.index(ram) < 1:
            raise ValueError(f"ram must be at least 1 byte, not {ram}")
        if draft is not None and not isinstance(draft, Model):
            raise TypeError(f"draft must be a Model, not {type(draft).__name__}")
        if draft is not None and not speculation:
            raise ValueError("a draft model is given, and speculation is off: give one or the other")
        self.kv_type = kv_type
        n_threads = threads or default_threads()
        with _core.GGUF(self.path) as file:
            self._file = file  # closed below; its header stays
            if draft is not None:
                require_same_vocabulary(self.path, file.header, draft.path, draft._file.header)
            blueprint = arch.blueprint(file, context)
            needs = memory_needs(file, blueprint.plan, blueprint.context, threads=n_threads, kv_type=kv_type, ram=ram)
            self.memory: MemoryPlan = fitted(needs, context is not None, self.path)
            self._blueprint = blueprint
            self.architecture = blueprint.architecture
            self.plan = blueprint.plan
            self.trained_context = blueprint.hparams.context_length
            self.context = self.memory.context  # the plan stays that of the wanted one: bits do not depend on memory
            self._engine: _core.Engine | None = _core.Engine(
                file,
                self.plan.weight_names,
                self.plan.for_core(),
                context=self.context,
                max_tokens=MAX_TOKENS,
                n_threads=n_threads,
                kv_type=kv_type,
                kv_max_bytes=self.memory.kv_limit,
                progress=progress,
            )
        self.speculation = Speculation(self.n_vocab, draft) if speculation else None

    # What it is

    @property
    def engine(self) -> _core.Engine:
        """The core's side of the model; ValueError once closed."""
        if self._engine is None:
            raise ValueError("this model is closed")
        return self._engine

    @property
    def threads(self) -> int:
        return self.engine.n_threads

    @property
    def isa(self) -> str:
        """The instruction set whose kernels run."""
        return self.engine.isa

    @property
    def n_vocab(self) -> int:
        return self.engine.n_vocab

    @property
    def metadata(self) -> dict[str, Any]:
        """What the file says of the model: numbers, texts, NumPy arrays, lists of texts. Made when it is asked for."""
        return self._file.metadata

    @cached_property
    def unfused_plan(self) -> Plan:
        """The plan with fused operations taken apart: a value for every name, the same bits."""
        return self._blueprint.unfused()

    @cached_property
    def fingerprint(self) -> bytes:
        """32 bytes that differ where the KV cache of one model is none of another: a hash of the weights, the plan and the KV
        type."""
        import hashlib
        import json

        core = self.plan.for_core()
        steps = [step[:-1] for step in core.pop("steps")]  # without the line of source that made them
        text = json.dumps([_KV_VERSION, self.engine.weights_digest, self.kv_type, core, steps], sort_keys=True)
        return hashlib.sha256(text.encode()).digest()

    def encode(self, text: str, *, is_start: bool = True) -> list[int]:
        """Ids of a text as `generate` takes it: special tokens spelled in it are special tokens, and at the start of a sequence
        it begins as the model wants it, without doubling a BOS that it has."""
        t = self.tokenizer
        has_bos = t.bos_id is not None and text.startswith(t.token(t.bos_id))
        return t.encode(text, add_special=is_start and not has_bos, parse_special=True)

    @property
    def value_names(self) -> list[str]:
        """What `Session.capture` can give, in the order of computation."""
        return list(self.unfused_plan.names)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        from pyruntime.tokenizer import load_tokenizer  # with what it needs 50 ms, and token ids alone do without

        tokenizer = load_tokenizer(self._file.header, self.path)
        if tokenizer.n_vocab > self.n_vocab:
            raise GGUFError(
                f"{printable(self.path)}: metadata tokenizer.ggml.tokens: {tokenizer.n_vocab} tokens, "
                f"but the model has rows for {self.n_vocab}"
            )
        return tokenizer

    @cached_property
    def chat_templates(self) -> ChatTemplates:
        """The file's templates by name: "default" for a plain conversation, perhaps others; empty for a base model."""
        from pyruntime.chat_template import ChatTemplates

        return ChatTemplates(self._file.header, self.tokenizer, printable(self.path))

    @property
    def chat_template(self) -> ChatTemplate | None:
        """The template for a plain conversation; None for a base model."""
        return self.chat_templates.get("default")

    # Numbers

    def session(self) -> Session:
        """An empty sequence."""
        return Session(self.engine, self.engine.sequence(), self)

    def logits(self, ids: Iterable[int] | Ids) -> NDArray[np.float32]:
        """Logits of the next token after each position, float32 (n, n_vocab). Nothing is added to the ids."""
        with self.session() as session:
            return session.logits(ids)

    # Words

    @overload
    def generate(
        self,
        prompt: Prompt,
        *,
        max_tokens: int | None = ...,
        stop: Sequence[str] = ...,
        logprobs: int | None = ...,
        sampling: Sampling | None = ...,
        **options: Unpack[SamplingOptions],
    ) -> Generation: ...
    @overload
    def generate(
        self,
        prompt: list[str] | list[list[int]],
        *,
        max_tokens: int | None = ...,
        stop: Sequence[str] = ...,
        logprobs: int | None = ...,
        sampling: Sampling | None = ...,
        **options: Unpack[SamplingOptions],
    ) -> list[Generation]: ...
    def generate(
        self,
        prompt: Prompt | list[str] | list[list[int]],
        *,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        logprobs: int | None = None,
        sampling: Sampling | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Generation | list[Generation]:
        """Continues a prompt, or several together (text, or token ids). No template is applied: see `chat`. A text prompt is
        taken as a whole document: special tokens spelled in it are special tokens.

        max_tokens: None goes on to an end token or the end of the context, which a small model that repeats itself may well
        reach. stop: strings that end the text and are not in it. logprobs: for each token its log probability, and those of
        so many of the likeliest (0 to 1024); None: no log probabilities. Sampling is a `Sampling`, or its fields as keywords
        (temperature=0, seed=1, ...). The i-th prompt of a list draws from the i-th stream of the seed, so the others cannot
        change its result.
        """
        many = isinstance(prompt, list) and not (prompt and isinstance(prompt[0], (int, np.integer)))
        prompts: list[Any] = list(prompt) if many else [prompt]
        request = Request(choose(sampling, options).with_seed(), max_tokens, stop, logprobs)
        sessions: list[Session] = []
        try:
            jobs = []
            for i, p in enumerate(prompts):
                sessions.append(self.session())
                jobs.append(new_job(self, sessions[-1], prompt_ids(self, p), request, i))
            for _ in run(self.engine, jobs, self.speculation):
                pass
            results = [job.result() for job in jobs]
        finally:
            for session in sessions:
                session.close()
        return results if many else results[0]

    def stream(
        self,
        prompt: Prompt,
        *,
        session: Session | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        logprobs: int | None = None,
        sampling: Sampling | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Stream:
        """As `generate`, piece by piece. With a session, only the tokens that it does not hold already are computed."""
        request = Request(choose(sampling, options).with_seed(), max_tokens, stop, logprobs)
        return new_stream(self, prompt_ids(self, prompt), session, request)

    def render(
        self,
        messages: str | Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        template: str | None = None,
        **extra: Any,
    ) -> str:
        """The text that the model gets for these messages, or for a prompt: special tokens spelled, BOS included.

        Arguments and errors are those of `chat`; `extra` is its `template_args`.
        """
        if isinstance(messages, str):
            return self.tokenizer.decode(self.encode(messages))
        return rendered(self, messages, tools, template, extra).text

    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template: str | None = None,
        template_args: Mapping[str, Any] | None = None,
        overflow: Overflow = "error",
        session: Session | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        logprobs: int | None = None,
        sampling: Sampling | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Generation:
        """The assistant's next message. messages: [{"role": ..., "content": ...}, ...], and what else the template reads.

        tools: JSON schemas, in the form that the model was trained on. template: a name of `chat_templates`; None is
        "tool_use" for tools where there is one, else "default". template_args: for the template, such as
        {"enable_thinking": False}. The rest is as in `generate`; `stop` is looked for in the text, not in the reasoning.

        overflow: what happens when the conversation leaves no room for an answer. "error": ContextError once not a token
        fits. "drop": the oldest turns are left out, never a system message or the last question, and `dropped_messages` of
        the result says how many messages that were; see `pyruntime.overflow.fit`.

        Raises UnsupportedError for a base model, TemplateError, and TypeError or ValueError that name the message.
        """
        stream = self.stream_chat(
            messages, tools=tools, template=template, template_args=template_args, overflow=overflow,
            session=session, max_tokens=max_tokens, stop=stop, logprobs=logprobs, sampling=sampling, **options,
        )  # fmt: skip
        for _ in stream:
            pass
        return stream.result

    def stream_chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template: str | None = None,
        template_args: Mapping[str, Any] | None = None,
        overflow: Overflow = "error",
        session: Session | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        logprobs: int | None = None,
        sampling: Sampling | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Stream:
        """As `chat`, piece by piece. Pass the same session each turn, and a turn computes only its new tokens."""
        if overflow not in ("error", "drop"):
            raise ValueError(f"overflow must be 'error' or 'drop', not {overflow!r}")
        request = Request(choose(sampling, options).with_seed(), max_tokens, stop, logprobs)

        def render(some: Sequence[Message]) -> Rendered:
            return rendered(self, some, tools, template, template_args or {})

        if overflow == "drop":
            (text, ids), dropped = fit(messages, render, self.context, max_tokens)
        else:
            (text, ids), dropped = render(messages), 0
        return new_stream(self, as_ids(ids), session, request, Splitter(text), dropped)

    # Its end

    def close(self) -> None:
        """Frees the weights once no session holds them. Idempotent."""
        self._engine = self.speculation = None

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
