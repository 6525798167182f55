"""Every error that pyruntime raises on purpose. The message is one line: what, where, and what to do.

`exit_code` is what the command line returns: 2 usage (argparse), 3 bad file, 4 memory, 5 unsupported, 1 the rest,
130 after Ctrl-C.
"""

from typing import Any


class PyruntimeError(Exception):
    """The base of all of them."""

    exit_code = 1


class GGUFError(PyruntimeError):
    """A model file that is missing, malformed or truncated; names the file, the field and the offset."""

    exit_code = 3


class SessionFileError(PyruntimeError):
    """A session file that is malformed, damaged or of another model; names the file, the field and the offset."""

    exit_code = 3


class MemoryLimitError(PyruntimeError):
    """Something that memory cannot hold, refused before it is asked for; gives the numbers."""

    exit_code = 4


class UnsupportedError(PyruntimeError):
    """A well-formed request that this version cannot serve: an architecture, a tensor type, a tokenizer."""

    exit_code = 5


class ContextError(PyruntimeError, ValueError):
    """A prompt or a conversation longer than the context."""


class NumericsError(PyruntimeError):
    """A step whose logits are not finite."""


class TemplateError(PyruntimeError):
    """A chat template that does not parse, raises, or takes too long."""


class FetchError(PyruntimeError):
    """A model that could not be fetched."""


def shown(value: Any) -> str:
    """A value out of a file as a message shows it: one short line without a character that a terminal obeys."""
    n = len(value) if hasattr(value, "__len__") else 0
    part = value[:80] if n > 80 else value
    text = repr(part.tolist() if hasattr(part, "tolist") else part)
    return text if n <= 80 and len(text) <= 100 else f"{text[:80]}..."


def printable(text: str) -> str:
    """A path or another text, whole: with escapes for what a terminal obeys, and for bytes that are no text."""
    return text if text.isprintable() else repr(text)[1:-1]


def shown_name(name: str) -> str:
    """A name out of a file, as it is if that does no harm."""
    return name if name.isprintable() and len(name) <= 100 else shown(name)
