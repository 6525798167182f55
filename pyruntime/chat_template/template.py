"""A chat template: compiled once, rendered for each conversation.

Templates are Jinja, written for Hugging Face's settings, and come with the model file, so they are not trusted: they run
in minijinja over read-only copies of plain data, and are checked and translated first (source.py). A plain template
(cost.py) runs in this process, under limits that an ordinary conversation does not reach (limits.py); beyond them, and
for every other template, a process is started that may take a second and 64 MB (apart.py).

**No message can forge a turn.** `prompt` finds control tokens only where no character of them came from a message:
marks.py has how. A string wholly inside a token is left alone: templates build `<|` + role + `|>` themselves, so roles
are the caller's to choose and not a user's. Keys of mappings are the caller's as well. User-defined tokens, such as
`<think>` in many models, are not control: they are parsed wherever they stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pyruntime.chat_template import apart, limits
from pyruntime.chat_template.conversation import variables
from pyruntime.chat_template.engine import Engine
from pyruntime.chat_template.marks import unused_character
from pyruntime.chat_template.source import to_minijinja
from pyruntime.chat_template.values import LONG

if TYPE_CHECKING:
    from pyruntime.tokenizer import Tokenizer


class Prompt(NamedTuple):
    """What a model gets: the ids, and their text, BOS included."""

    text: str
    ids: list[int]


class ChatTemplate:
    """A chat template. Raises TemplateError, one line, for a source that does not parse or that is refused."""

    def __init__(self, source: str, bos_token: str = "", eos_token: str = "") -> None:
        self.source = source
        self._constants = {"bos_token": bos_token, "eos_token": eos_token}
        text, is_plain = to_minijinja(source)
        self._engine: Engine | None = None  # without one, all is done apart
        if is_plain and not _any_long(self._constants.values()):
            self._engine = Engine(text, self._constants, limits.beside)
        else:
            apart.check(source, self._constants)

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
        return self._text(variables(messages, tools, add_generation_prompt, extra))

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
        context = variables(messages, tools, add_generation_prompt, extra)
        mark = unused_character(self.source, context)
        marked = self._text(context, list(tokenizer.special_tokens), mark)
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

    def _text(self, context: dict[str, Any], special: Sequence[str] = (), mark: str = "") -> str:
        if self._engine is not None and not _any_long(context.values()):
            try:
                return self._engine.text(context, special, mark)
            except limits.Exceeded:
                pass  # here; there is more room apart
        return apart.text(self.source, self._constants, context, special, mark)


def _any_long(values: Iterable[Any]) -> bool:
    """Whether some text is no part of a mapping or list, which would let it be read at a price (values.py)."""
    return any(isinstance(value, str) and len(value) > LONG for value in values)
