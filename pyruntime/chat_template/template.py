"""A chat template: compiled once, rendered for each conversation.

Templates are Jinja, written for Hugging Face's settings, and come with the model file, so they are not trusted: they run
in minijinja, with fuel, over read-only copies of plain data, and are checked and translated first (source.py).

**No message can forge a turn.** `prompt` finds control tokens only where no character of them came from a message:
marks.py has how. A string wholly inside a token is left alone: templates build `<|` + role + `|>` themselves, so roles
are the caller's to choose and not a user's. Keys of mappings are the caller's as well. User-defined tokens, such as
`<think>` in many models, are not control: they are parsed wherever they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from pyruntime.chat_template import functions
from pyruntime.chat_template.conversation import folded, variables
from pyruntime.chat_template.marks import render_marked, unused_character
from pyruntime.chat_template.source import to_minijinja
from pyruntime.chat_template.values import kept, limits
from pyruntime.errors import TemplateError

if TYPE_CHECKING:
    from pyruntime.tokenizer import Tokenizer

# About one instruction or 70 bytes of text a unit: a thousand messages take 0.1 million, and a runaway loop 0.2 s.
_FUEL = 2_000_000
_MAX_OUTPUT = 4 << 20  # bytes


class Prompt(NamedTuple):
    """What a model gets: the ids, and their text, BOS included."""

    text: str
    ids: list[int]


class ChatTemplate:
    """A chat template. Raises TemplateError, one line, for a source that does not parse or that is refused."""

    def __init__(self, source: str, bos_token: str = "", eos_token: str = "") -> None:
        self.source = source
        self._globals = {"bos_token": bos_token, "eos_token": eos_token}
        self._environment = _environment()
        _guarded(self._environment.add_template, "chat", to_minijinja(source))

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **extra: Any,
    ) -> str:
        """The conversation as the model's text.

        `messages` are {"role": str, "content": str} with further JSON data as the template wants it; `tools` and
        `extra` are JSON data, too. Raises TypeError and ValueError that name the message, and TemplateError.
        """
        return self._render(self._context(messages, tools, add_generation_prompt, extra))

    def prompt(
        self,
        tokenizer: Tokenizer,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **extra: Any,
    ) -> Prompt:
        """The conversation as the model gets it. BOS is added if the tokenizer wants one and the template did not write it.

        Control tokens spelled in messages, tools or `extra` stay text. Errors are those of `render`.
        """
        context = self._context(messages, tools, add_generation_prompt, extra)
        mark = unused_character(self.source, context)
        marked = render_marked(self._render, context, list(tokenizer.special_tokens), mark)
        prompt = Prompt(marked.replace(mark, ""), tokenizer.encode_with_mark(marked, mark))
        bos = tokenizer.bos_id
        if not tokenizer.add_bos or bos is None or prompt.ids[:1] == [bos]:
            return prompt
        return Prompt(tokenizer.token(bos) + prompt.text, [bos, *prompt.ids])

    def encode(
        self,
        tokenizer: Tokenizer,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **extra: Any,
    ) -> list[int]:
        """The ids of the conversation: those of `prompt`."""
        return self.prompt(tokenizer, messages, tools, add_generation_prompt, **extra).ids

    def _context(self, messages: Any, tools: Any, add_generation_prompt: bool, extra: dict[str, Any]) -> dict[str, Any]:
        context = variables(messages, tools, add_generation_prompt, extra)
        first = next(iter(context["messages"]), None)
        if first is not None and first["role"] == "system" and self._refuses_system:
            context["messages"] = folded(context["messages"])
        return context

    @cached_property
    def _refuses_system(self) -> bool:
        """Whether it raises for a system message, and not for the same conversation without one."""
        user = {"role": "user", "content": "Hello."}
        return self._raises([{**user, "role": "system"}, user]) and not self._raises([user])

    def _raises(self, messages: list[dict[str, str]]) -> bool:
        try:
            self._render(variables(messages, None, True, {}))
        except TemplateError:
            return True
        return False

    def _render(self, context: dict[str, Any]) -> str:
        with limits(context):
            text: str = _guarded(self._environment.render_template, "chat", **self._globals | context)
        if len(text.encode()) > _MAX_OUTPUT:
            raise TemplateError(f"chat template: the text has more than {_MAX_OUTPUT >> 20} MB")
        return text


def _environment() -> Any:
    from minijinja import Environment

    environment = Environment(trim_blocks=True, lstrip_blocks=True, fuel=_FUEL)
    for name in ("batch", "slice", "zip", "chain"):  # lists of what they are given, many times over
        environment.remove_filter(name)
    environment.add_filter("tojson", functions.to_json)
    environment.add_filter("format", functions.percent_format)
    environment.add_test("sequence", functions.is_sequence)
    environment.add_global("raise_exception", functions.raise_exception)
    environment.add_global("strftime_now", functions.strftime_now)
    # What source.py and expression.py write.
    environment.add_global("keep__", kept)
    environment.add_global("modulo__", functions.modulo)
    environment.add_global("method__", functions.method)
    return environment


def _guarded(call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Whatever goes wrong in a template, a panic of the library included, is a TemplateError."""
    try:
        return call(*args, **kwargs)
    except (TemplateError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise TemplateError(f"chat template: {functions.one_line(getattr(error, 'message', error))}") from None
