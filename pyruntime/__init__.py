"""pyruntime: a CPU-first runtime for GGUF language models. Importing it loads nothing; the first use does."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyruntime.arch import register_architecture
    from pyruntime.catalogue import pull
    from pyruntime.chat_template import ChatTemplate
    from pyruntime.generate import Generation, Stream, TokenLogprob
    from pyruntime.inspection import Inspection, inspect
    from pyruntime.model import Model
    from pyruntime.sampling import Sampling
    from pyruntime.session import Session
    from pyruntime.tokenizer import Tokenizer

__version__ = "0.1.0"

_HOME = {
    "ChatTemplate": "chat_template",
    "Generation": "generate",
    "Inspection": "inspection",
    "Model": "model",
    "Sampling": "sampling",
    "Session": "session",
    "Stream": "generate",
    "TokenLogprob": "generate",
    "Tokenizer": "tokenizer",
    "inspect": "inspection",
    "pull": "catalogue",
    "register_architecture": "arch",
}

__all__ = [
    "ChatTemplate",
    "Generation",
    "Inspection",
    "Model",
    "Sampling",
    "Session",
    "Stream",
    "TokenLogprob",
    "Tokenizer",
    "__version__",
    "inspect",
    "pull",
    "register_architecture",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    if name == "_core":
        try:
            return importlib.import_module(f"{__name__}._core")
        except ModuleNotFoundError:
            raise ImportError(
                f"{__path__[0]} has no compiled extension for this Python: if it is a checkout, install it with "
                "`pip install .` and start Python in another folder"
            ) from None
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
