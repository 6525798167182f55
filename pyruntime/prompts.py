"""What a model is asked, on its way to a job: rendered, as token ids, not too long, and without what a session holds already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyruntime.errors import ContextError, TemplateError, printable
from pyruntime.generate import Job, Request, Stream
from pyruntime.reasoning import Splitter
from pyruntime.session import Ids, Session, as_ids

if TYPE_CHECKING:
    from pyruntime.chat_template import Prompt as Rendered
    from pyruntime.model import Model, Prompt


def prompt_ids(model: Model, prompt: Prompt) -> Ids:
    """The ids of a text that no template is applied to, or of ids."""
    if isinstance(prompt, str):
        _check_text(model, prompt)
    ids = as_ids(model.encode(prompt) if isinstance(prompt, str) else prompt)
    if len(ids) == 0:
        raise ValueError("the prompt is empty, and this model has no token to begin with")
    return ids


def rendered(model: Model, messages: Any, tools: Any, template: str | None, extra: Mapping[str, Any]) -> Rendered:
    """A conversation as the chosen template writes it."""
    # What is no list of messages, the template refuses.
    if messages and isinstance(messages, Sequence) and isinstance(messages[-1], Mapping):
        content = messages[-1].get("content")
        if isinstance(content, str):
            _check_text(model, content)
    try:
        chosen = model.chat_templates.choose(template, with_tools=bool(tools))
        return chosen.prompt(model.tokenizer, messages, tools, **extra)
    except TemplateError as error:  # the file's own: without it, generate and stream still work
        raise TemplateError(f"{printable(model.path)}: {error}") from None


def new_stream(
    model: Model, ids: Ids, session: Session | None, request: Request,
    splitter: Splitter | None = None, dropped: int = 0,
) -> Stream:  # fmt: skip
    """The answer to a prompt, in a session that may hold the beginning of it, or in one of its own."""
    used = session if session is not None else model.session()
    try:
        job = new_job(model, used, _unshared(model, used, ids), request, 0, splitter, dropped)
    except BaseException:
        if session is None:
            used.close()
        raise
    return Stream(model.engine, job, used if session is None else None, model.speculation)


def new_job(
    model: Model, session: Session, feed: Ids, request: Request, stream: int,
    splitter: Splitter | None = None, dropped: int = 0,
) -> Job:  # fmt: skip
    """The job of a session that is to be fed, and of the stream-th prompt of a call."""
    n_prompt = len(session) + len(feed)
    _check_length(model, n_prompt)
    room = model.context - n_prompt
    return Job(model.tokenizer, session, feed, request, stream, model.n_vocab, room, splitter, dropped)


def _unshared(model: Model, session: Session, ids: Ids) -> Ids:
    """Rewinds the session to what it shares with ids and returns the rest, at least one token."""
    _check_length(model, len(ids))  # first: a session that is refused keeps its tokens
    held = session.ids
    shared = next(
        (i for i, (a, b) in enumerate(zip(held, ids.tolist(), strict=False)) if a != b), min(len(held), len(ids))
    )
    shared = min(shared, len(ids) - 1)
    session.rewind(shared)
    return ids[shared:]


def _check_text(model: Model, text: str) -> None:
    """Refuses by its beginning a text that is many times too long: tokenizing 60 MB takes minutes and 13 GB."""
    if len(text) > 64 * model.context:
        n = len(model.tokenizer.encode(text[: 16 * model.context]))
        if n > 2 * model.context:
            raise ContextError(f"the prompt has more than {n} tokens and the context {model.context}; shorten the text")


def _check_length(model: Model, n_prompt: int) -> None:
    if n_prompt >= model.context:
        raise ContextError(
            f"the prompt has {n_prompt} tokens and the context {model.context}, one of them for the answer; "
            "load the model with a larger context or shorten the text"
        )
