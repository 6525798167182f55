"""What a person types: with line editing and history where the terminal moves its cursor, line by line elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, TextIO

from pyruntime.cli.chat.commands import completions
from pyruntime.cli.terminal import note

if TYPE_CHECKING:
    from prompt_toolkit.completion import Completer
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.key_binding.key_processor import KeyPressEvent

    from pyruntime.cli.chat.history import History

PROMPT, MORE = "> ", "  "
SHOWN_PASTE = 4000  # characters; of a longer paste the line shows its size, and the model gets the text


class Reader(Protocol):
    """Where turns come from."""

    def read(self) -> str:
        """The next turn, of one line or several. EOFError at the end, KeyboardInterrupt for Ctrl-C."""


def is_open(text: str) -> bool:
    """Whether a block of several lines has begun and not ended."""
    return text.lstrip().startswith('"""') and text.count('"""') == 1


def unquoted(text: str) -> str:
    """The text of a block without its marks; any other as it is, without the white space around it."""
    text = text.strip()
    if len(text) >= 6 and text.startswith('"""') and text.endswith('"""') and text.count('"""') == 2:
        return text[3:-3].strip("\n")
    return text


class PlainReader:
    """For a terminal that cannot be edited on. `out` shows the prompt: stdout, or where answers go elsewhere, stderr."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def read(self) -> str:
        text = self._line(PROMPT)
        while (goes_on := text.endswith("\\")) or is_open(text):
            text = (text[:-1] if goes_on else text) + "\n" + self._line(MORE)
        return text

    def _line(self, prompt: str) -> str:
        self._out.write(prompt)
        self._out.flush()
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.removesuffix("\n")


class EditingReader:
    """With prompt_toolkit: editing, history, completion of commands, texts of several lines, and pastes of any size."""

    def __init__(self, out: TextIO, history: History | None) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.history import InMemoryHistory
        from prompt_toolkit.layout.processors import TabsProcessor
        from prompt_toolkit.output import ColorDepth
        from prompt_toolkit.output.vt100 import Vt100_Output
        from prompt_toolkit.shortcuts import CompleteStyle

        self._pastes: dict[str, str] = {}  # by what the line shows in their place
        self._history = history
        vt100 = Vt100_Output.from_pty(out, default_color_depth=ColorDepth.from_env())  # which knows NO_COLOR
        vt100.enable_cpr = False  # a terminal far away answers late, and its answer would look typed
        self._session: PromptSession[str] = PromptSession(
            PROMPT,
            output=vt100,
            history=InMemoryHistory(history.entries if history else []),
            key_bindings=self._keys(),
            input_processors=[TabsProcessor(char1=" ", char2=" ")],  # not ^I for a pasted tab
            completer=_completer(),
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,
            reserve_space_for_menu=0,
            multiline=True,
            prompt_continuation=MORE,
            enable_suspend=True,
        )

    def read(self) -> str:
        try:
            text = self._session.prompt()
        except KeyboardInterrupt:
            if self._session.default_buffer.text:
                return ""  # it took back what was typed, and asks for nothing more
            raise
        for shown, pasted in self._pastes.items():
            text = text.replace(shown, pasted)
        text = text.encode(errors="replace").decode()  # bytes that are no UTF-8 come as surrogates
        if self._history and text.strip():
            try:
                self._history.add(text)
            except OSError as error:
                note(f"pyruntime: no history any more: {self._history.path}: {error.strerror}")
                self._history = None
        return text

    def _keys(self) -> KeyBindings:
        from prompt_toolkit.enums import DEFAULT_BUFFER
        from prompt_toolkit.filters import has_focus
        from prompt_toolkit.key_binding import KeyBindings
        from prompt_toolkit.keys import Keys

        keys = KeyBindings()
        typing = has_focus(DEFAULT_BUFFER)  # and not searching in the history

        @keys.add("enter", filter=typing)
        def enter(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            if buffer.document.text_before_cursor.endswith("\\") and buffer.document.is_cursor_at_the_end_of_line:
                buffer.delete_before_cursor()
                buffer.insert_text("\n")
            elif is_open(buffer.text):
                buffer.insert_text("\n")
            else:
                buffer.validate_and_handle()

        @keys.add("escape", "enter", filter=typing)
        def newline(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @keys.add(Keys.BracketedPaste, filter=typing)
        def paste(event: KeyPressEvent) -> None:
            text = event.data.replace("\r\n", "\n").replace("\r", "\n")
            event.current_buffer.insert_text(self._stand_in(text))

        return keys

    def _stand_in(self, text: str) -> str:
        """What the line shows for a pasted text."""
        if len(text) <= SHOWN_PASTE:
            return text
        shown = f"[pasted text {len(self._pastes) + 1}: {len(text)} characters]"
        self._pastes[shown] = text
        return shown


def _completer() -> Completer:
    from prompt_toolkit.completion import Completer, Completion
    from prompt_toolkit.document import Document

    class Commands(Completer):
        def get_completions(self, document: Document, complete_event: object) -> Iterable[Completion]:
            line = document.text_before_cursor
            return [Completion(f"{name} ", -len(line), display=name) for name in completions(line)]

    return Commands()
