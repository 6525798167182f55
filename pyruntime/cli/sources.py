"""The texts that make a prompt: the words on the command line, files, and stdin."""

from __future__ import annotations

import select
import sys
from collections.abc import Sequence
from typing import BinaryIO

from pyruntime.cli.options import UsageError, decoded
from pyruntime.cli.terminal import note
from pyruntime.errors import shown_name

PATIENCE = 2.0  # seconds until it is said that stdin is waited for
MAX_BYTES = 64 << 20  # of a text: the longest context has 2**20 tokens


def whole_prompt(prompt: str | None, files: Sequence[str]) -> str:
    """The documents and then the prompt, with empty lines between them. UsageError for what is no text, or missing.

    Stdin is the prompt for "-" and where none is given, and a document beside a prompt without files. A last newline is
    echo's or the editor's, not the text's.
    """
    if prompt == "-" and "-" in files:
        raise UsageError("stdin cannot be the prompt and a file")
    documents = [(path, _stdin() if path == "-" else _file(path)) for path in files]
    if prompt is None and sys.stdin.isatty():
        if not files:
            raise UsageError("no PROMPT: give one, or pipe a text in")
        prompt = ""
    elif prompt in (None, "-"):
        prompt = "" if "-" in files else _stdin()
    elif not files and not sys.stdin.isatty():
        documents.append(("-", _stdin()))
    assert prompt is not None
    texts = [text for _, text in documents]
    if len(files) > 1:  # a model that is asked about one of them has to know which is which
        texts = [f"{'stdin' if path == '-' else shown_name(path)}:\n{text}" for path, text in documents]
    whole = "\n\n".join(text for text in (*texts, prompt) if text)
    if not whole:
        raise UsageError("the prompt is empty")
    return whole


def _file(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return _text(file, f"--file {shown_name(path)}")
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise UsageError(f"--file {shown_name(path)}: {getattr(error, 'strerror', None) or error}") from None


def _stdin() -> str:
    """Stdin up to its end. A caller that leaves it open and writes nothing is waited for, and this is said."""
    if not _has_come():
        note("pyruntime: waiting for a text on stdin (Ctrl-D ends it; where there is none, < /dev/null)")
    return _text(sys.stdin.buffer, "stdin")


def _has_come() -> bool:
    """Whether stdin has something to read, if only its end, before patience ends."""
    try:
        fd = sys.stdin.fileno()
    except OSError:  # no stream of the system's
        return True
    return bool(select.select([fd], [], [], PATIENCE)[0])


def _text(file: BinaryIO, what: str) -> str:
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UsageError(f"{what} has more than {MAX_BYTES >> 20} MB, and no context holds that")
    return decoded(data, what).removesuffix("\n")
