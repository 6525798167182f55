"""Every error that pyruntime raises on purpose. The message is one line: what, where, and what to do.

`exit_code` is what the command line returns: 2 usage (argparse), 3 bad file, 4 memory, 5 unsupported, 1 the rest,
130 after Ctrl-C.
"""


class PyruntimeError(Exception):
    """The base of all of them."""

    exit_code = 1


class GGUFError(PyruntimeError):
    """A model file that is missing, malformed or truncated; names the file, the field and the offset."""

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
