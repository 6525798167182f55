"""Architectures: one file a family, found by GGUF's `general.architecture` with '-' as '_'."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from pyruntime.arch.hparams import HParams
from pyruntime.errors import UnsupportedError
from pyruntime.plan import Plan, PlanBuilder, Weights

Build = Callable[[PlanBuilder, HParams, Weights], Plan]

_HELPERS = {"blocks", "hparams"}  # modules of this folder that are not a family


def names() -> list[str]:
    """The architectures there are, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in _HELPERS)


def find(name: str, path: str) -> Build:
    """The build function of an architecture; UnsupportedError if there is none."""
    module = name.replace("-", "_")
    if module not in names():
        raise UnsupportedError(
            f"{path}: architecture {name!r} (general.architecture) is not supported by this version; "
            f"supported: {', '.join(names())}"
        )
    build: Build = importlib.import_module(f"{__name__}.{module}").build
    return build
