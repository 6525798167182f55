"""A conversation as a JSON file: {"format": "pyruntime-conversation", "version": 1, "model": ..., "messages": [...]}.

The messages are those of `pyruntime.Model.chat`, and nothing in a file is trusted before it has been checked.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, NoReturn

from pyruntime.cli.chat.conversation import Message
from pyruntime.errors import PyruntimeError, shown
from pyruntime.files import replacing

FORMAT, VERSION = "pyruntime-conversation", 1
MAX_BYTES = 64 << 20  # a conversation that fills a context of 2**20 tokens has a tenth of that
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class ConversationFileError(PyruntimeError):
    """A conversation that cannot be saved, or a file that is none; names the file and the field."""

    exit_code = 3


def save(path: str, model: str, messages: list[Message]) -> None:
    """Writes the file at once or not at all: the old one stays until the new one is on the disk.

    ConversationFileError where that fails, and rather than the loss of a file that is something else.
    """
    if _CONTROL.search(path):  # a paste that went wrong, and a trap for whoever lists the folder
        _refuse(path, "a file name with a control character; choose another name to save to")
    target = Path(os.path.realpath(os.path.expanduser(path)))
    if os.path.lexists(target):
        try:
            load(path)
        except ConversationFileError as error:
            raise ConversationFileError(f"{error}; choose another name to save to") from None
    document = {"format": FORMAT, "version": VERSION, "model": model, "messages": messages}
    try:
        with replacing(target) as file:
            file.write(json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n")
    except OSError as error:
        _refuse(path, error.strerror or str(error))


def load(path: str) -> tuple[str, list[Message]]:
    """The model's name and the messages that `save` has written. ConversationFileError for anything else."""
    source = Path(os.path.expanduser(path))
    try:
        if source.exists() and not source.is_file():  # a pipe would wait for ever
            _refuse(path, "no regular file")
        with source.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        _refuse(path, getattr(error, "strerror", None) or str(error))
    if len(data) > MAX_BYTES:
        _refuse(path, f"more than {MAX_BYTES >> 20} MB")
    try:
        document = json.loads(data)
    except UnicodeDecodeError as error:
        _refuse(path, f"not UTF-8: byte 0x{data[error.start]:02x} at {error.start}")
    except (ValueError, RecursionError) as error:
        _refuse(path, f"no JSON: {error}")
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        _refuse(path, f'no conversation of pyruntime (its "format" is not "{FORMAT}")')
    if document.get("version") != VERSION:
        _refuse(path, f"version {shown(document.get('version'))}, and this is version {VERSION}")
    model = document.get("model")
    if not isinstance(model, str) or not _is_text(model):
        _refuse(path, "model: not a text")
    return model, _messages(path, document.get("messages"))


def _messages(path: str, given: Any) -> list[Message]:
    """Messages that a chat can go on from: perhaps a system message, then questions and answers in turn."""
    if not isinstance(given, list):
        _refuse(path, "messages: not a list")
    messages = []
    for i, message in enumerate(given):
        where = f"messages[{i}]"
        if not isinstance(message, dict) or not {"role", "content"} <= set(message):
            _refuse(path, f"{where}: without a role and a content")
        unknown = set(message) - {"role", "content", "reasoning_content"}
        if unknown:
            _refuse(path, f"{where}: unknown field {shown(min(unknown))}")
        for key, value in message.items():
            if not isinstance(value, str) or not _is_text(value):
                _refuse(path, f"{where}.{key}: not a text")
        messages.append(dict(message))
    turns = messages[1:] if messages and messages[0]["role"] == "system" else messages
    first = len(messages) - len(turns)
    for i, message in enumerate(turns):
        expected = ("user", "assistant")[i % 2]
        if message["role"] != expected:
            _refuse(path, f"messages[{first + i}].role: {shown(message['role'])} where {expected!r} comes")
    if len(turns) % 2:
        _refuse(path, "messages: the last question has no answer")
    return messages


def _is_text(value: str) -> bool:
    """Whether it is Unicode: JSON can spell half a character."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(path: str, what: str) -> NoReturn:
    raise ConversationFileError(f"{path}: {what}")
