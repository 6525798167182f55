"""Architectures: one file a family, found by GGUF's `general.architecture` with '-' as '_'."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyruntime.arch.hparams import HParams
from pyruntime.errors import GGUFError, UnsupportedError, shown, shown_name
from pyruntime.plan import Plan, PlanBuilder, Weights

if TYPE_CHECKING:
    from pyruntime import _core

Build = Callable[[PlanBuilder, HParams, Weights], Plan]

_HELPERS = {"blocks", "hparams"}  # modules of this folder that are not a family


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What a file's header says of its model: everything but the numbers in the weights."""

    architecture: str
    hparams: HParams
    plan: Plan


def names() -> list[str]:
    """The architectures there are, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in _HELPERS)


def find(name: str, path: str) -> Build:
    """The build function of an architecture; UnsupportedError if there is none."""
    module = name.replace("-", "_")
    if module not in names():
        raise UnsupportedError(
            f"{path}: architecture {shown(name)} (general.architecture) is not supported by this version; "
            f"supported: {', '.join(names())}"
        )
    build: Build = importlib.import_module(f"{__name__}.{module}").build
    return build


def blueprint(file: _core.GGUF) -> Blueprint:
    """The plan of a file. GGUFError for metadata or shapes that do not fit, UnsupportedError for a family or a feature that
    this version does not compute, and for a tensor that the plan leaves out: without a bias or a norm a model talks, wrongly.
    """
    architecture = file.metadata.get("general.architecture")
    if not isinstance(architecture, str):
        raise GGUFError(f"{file.path}: metadata general.architecture: missing or not a string")
    build = find(architecture, file.path)  # first: what else is there depends on it
    hparams = HParams(file.metadata, architecture, file.path)
    plan = build(PlanBuilder(file.path), hparams, Weights.of(file))
    unused = {t.name for t in file.tensors} - set(plan.weight_names)
    if unused:
        more = f" (and {len(unused) - 1} more)" if len(unused) > 1 else ""
        raise UnsupportedError(
            f"{file.path}: tensor {shown_name(min(unused))} is not used by architecture {architecture} in this version{more}"
        )
    return Blueprint(architecture, hparams, plan)
