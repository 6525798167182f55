"""The templates of a model file. One that is never asked for is never compiled, so its faults harm nobody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pyruntime.chat_template.template import ChatTemplate
from pyruntime.errors import GGUFError, UnsupportedError, shown_name

if TYPE_CHECKING:
    from pyruntime.tokenizer import Tokenizer

_KEY = "tokenizer.chat_template"


def in_metadata(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Key, name and source of each template, whatever the source is."""
    for key, source in metadata.items():
        if key == _KEY or key.startswith(_KEY + "."):
            yield key, key.removeprefix(_KEY).removeprefix(".") or "default", source


class ChatTemplates(Mapping[str, ChatTemplate]):
    """By name: `tokenizer.chat_template` is "default", `tokenizer.chat_template.NAME` is NAME.

    The names are those of the keys; `tokenizer.chat_templates` only lists them again. Raises GGUFError for a template
    that is not a string, and TemplateError when one that does not parse is asked for.
    """

    def __init__(self, metadata: Mapping[str, Any], tokenizer: Tokenizer, path: str = "") -> None:
        self._path = path
        self._tokens = [tokenizer.token(i) if i is not None else "" for i in (tokenizer.bos_id, tokenizer.eos_id)]
        self._sources: dict[str, str] = {}
        self._compiled: dict[str, ChatTemplate] = {}
        for key, name, source in in_metadata(metadata):
            if not isinstance(source, str):
                raise GGUFError(f"{path}: metadata {shown_name(key)}: not a string")
            self._sources[name] = source

    def __getitem__(self, name: str) -> ChatTemplate:
        if name not in self._compiled:
            self._compiled[name] = ChatTemplate(self._sources[name], *self._tokens)
        return self._compiled[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)

    def choose(self, name: str | None = None, with_tools: bool = False) -> ChatTemplate:
        """The template of that name; without one "tool_use", if there is one and tools are given, or "default".

        UnsupportedError if the file has none, or none of that name: it lists the names.
        """
        if not self._sources:
            raise UnsupportedError(f"{self._path}: a base model without a chat template; use generate or stream")
        wanted = name or ("tool_use" if with_tools and "tool_use" in self._sources else "default")
        if wanted not in self._sources:
            names = ", ".join(shown_name(known) for known in sorted(self._sources))
            raise UnsupportedError(f"{self._path}: no chat template {wanted!r:.80}, only {names:.200}")
        return self[wanted]
