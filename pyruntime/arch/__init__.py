"""Architectures: one file a family, found by GGUF's `general.architecture` with '-' as '_'."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyruntime.arch.hparams import HParams
from pyruntime.errors import ContextError, GGUFError, UnsupportedError, printable, shown, shown_name
from pyruntime.plan import Plan, PlanBuilder, Weights

if TYPE_CHECKING:
    from pyruntime import _core

Build = Callable[[PlanBuilder, HParams, Weights], Plan]

_HELPERS = {"blocks", "hparams", "rope"}  # modules of this folder that are not a family
ENTRY_POINTS = "pyruntime.architectures"  # group of entry points: name = "module:build"

_registered: dict[str, Build] = {}


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What a file's header says of its model: everything but the numbers in the weights."""

    architecture: str
    hparams: HParams
    plan: Plan
    context: int  # positions
    build: Build
    weights: Weights

    def unfused(self) -> Plan:
        """The same plan with fused operations taken apart: more values, the same bits."""
        return self.build(PlanBuilder(self.hparams.path, fused=False), self.hparams, self.weights)


def names() -> list[str]:
    """The architectures of this package, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in _HELPERS)


def register_architecture(name: str, build: Build) -> None:
    """Makes `build(b, hp, w)` the family of files whose `general.architecture` is `name`, for this process.

    docs/adding-a-model.md has an example. It comes before a family of the package with the same name. Packages announce
    theirs as an entry point `name = "module:build"` of the group `pyruntime.architectures` instead.
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"an architecture's name must be a string that is not empty, not {name!r}")
    if not callable(build):
        raise TypeError(f"build must be a function of (builder, hparams, weights), not {type(build).__name__}")
    _registered[name] = build


def find(name: str, path: str) -> Build:
    """The build function of an architecture: registered, of this package, or an entry point's; UnsupportedError if there is
    none."""
    if name in _registered:
        return _registered[name]
    module = name.replace("-", "_")
    if module in names():
        build: Build = importlib.import_module(f"{__name__}.{module}").build
        return build
    from importlib import metadata  # with what it imports 25 ms, for a family that is not ours

    for entry in metadata.entry_points(group=ENTRY_POINTS, name=name):
        register_architecture(name, entry.load())
        return _registered[name]
    raise UnsupportedError(
        f"{printable(path)}: architecture {shown(name)} (general.architecture) is not supported by this version; "
        f"supported: {', '.join(names())}"
    )


def blueprint(file: _core.GGUF, context: int | None = None) -> Blueprint:
    """The plan of a file, loaded for `context` positions (None: what the model can, at most 8,192).

    GGUFError for metadata or shapes that do not fit, UnsupportedError for a family or a feature that this version does not
    compute, and for a tensor that the plan leaves out: without a bias or a norm a model talks, wrongly.
    """
    architecture = file.header.get("general.architecture")
    if not isinstance(architecture, str):
        raise GGUFError(f"{printable(file.path)}: metadata general.architecture: missing or not a string")
    build = find(architecture, file.path)  # first: what else is there depends on it
    hparams = HParams(file.header, architecture, file.path, context)
    weights = Weights.of(file)
    plan = build(PlanBuilder(hparams.path), hparams, weights)
    unused = {t.name for t in file.tensors} - set(plan.weight_names) - plan.unused
    if unused:
        more = f" (and {len(unused) - 1} more)" if len(unused) > 1 else ""
        raise UnsupportedError(
            f"{hparams.path}: tensor {shown_name(min(unused))} is not used by architecture {architecture} in this version{more}"
        )
    return Blueprint(architecture, hparams, plan, _context(plan, hparams, context), build, weights)


def _context(plan: Plan, hparams: HParams, wanted: int | None) -> int:
    limit = plan.max_context
    if limit is None or hparams.context <= limit:
        return hparams.context
    if wanted is None:
        return limit
    raise ContextError(f"{hparams.path}: a context of {wanted}, but the model has embeddings for {limit} positions")
