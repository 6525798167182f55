"""Tell what a model file is: its shape, its types, the memory it takes, its metadata. No weight is read.

With `--json` an object with `path`, `files`, `bytes`, `gguf_version`, `architecture`, `name`, `licence`, `parameters`,
`bits_per_weight`; `types`: a list of `type`, `tensors`, `parameters`, `bytes`, `bits_per_weight`; `shape`; `vocabulary`;
`chat_templates` (characters by name); `memory` (bytes, for `context` positions; `fits`); `obstacle` (why this version does
not run it, or null); `metadata`, in which of a long list only `length` and `first` are left; and `tensors` and `plan` where
they are asked for.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pyruntime.cli.options import MODEL_HELP, add_load_options, find_model
from pyruntime.cli.tables import columns, paragraphs, size, visible, wrapped
from pyruntime.cli.terminal import width_of
from pyruntime.errors import shown

if TYPE_CHECKING:
    from pyruntime.inspection import Inspection
    from pyruntime.memory_plan import MemoryPlan

_LONG = 16  # elements of a list
_WIDE = 100  # characters of a value
_INDENT = 2  # of what stands below a title


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("--tensors", action="store_true", help="list the tensors")
    parser.add_argument("--plan", action="store_true", help="list the operations that a step computes")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    add_load_options(parser)


def run(args: argparse.Namespace) -> int:
    path = find_model(args.model)

    from pyruntime.inspection import inspect

    found = inspect(path, context=args.context, kv_type=args.kv_type, threads=args.threads, ram=args.ram)
    if args.json:
        print(json.dumps(_as_json(found, args)))
        return 0
    width = width_of(sys.stdout)
    print("\n".join(paragraphs(_rows(found, width), width)))
    inside = width and width - _INDENT
    _section("metadata", [f"{visible(key)} = {_shown(value)}" for key, value in found.metadata.items()], inside)
    if args.tensors:
        rows = [(t.name, t.type_name, " x ".join(map(str, t.shape)), f"{t.n_bytes:,} bytes") for t in found.tensors]
        _section("tensors", columns(rows, right=frozenset({3}), width=inside), None)
    if args.plan and found.plan is not None:
        _section("plan", [visible(line) for line in found.plan.dump().splitlines()], inside)
    return 0


def _section(title: str, lines: list[str], width: int | None) -> None:
    print(f"\n{title}")
    for line in lines:
        for part in wrapped(line, width):
            print(f"{'':{_INDENT}}{part}")


def _rows(found: Inspection, width: int | None) -> list[tuple[str, str]]:
    """The model on a few lines, each with its head."""
    files = f"{len(found.files)} files" if len(found.files) > 1 else "1 file"
    rows = [
        ("name", visible(found.name) if found.name else "none"),
        ("file", f"{visible(found.path)}, {size(found.bytes)} in {files}, GGUF {found.gguf_version}"),
        ("licence", visible(found.licence) if found.licence else "not told"),
        ("architecture", _architecture(found)),
        ("weights", f"{found.parameters / 1e6:,.1f} M parameters, {found.bits_per_weight:.2f} bits each"),
    ]
    types = [
        (
            t.type,
            f"{t.tensors} tensor{'s' * (t.tensors != 1)}",
            f"{t.parameters / 1e6:,.1f} M",
            f"{t.bits_per_weight:.2f} bits",
            size(t.bytes),
        )
        for t in found.types
    ]
    if types:
        inside = width and width - len("architecture  ")
        rows += [("", line) for line in columns(types, right=frozenset({1, 2, 3, 4}), width=inside)]
    rows += [("tokenizer", _tokenizer(found)), ("template", _templates(found))]
    if found.memory is not None:
        trained = found.shape.trained_context if found.shape else 0
        rows += [("memory", line) for line in _memory(found.memory, trained)]
    rows.append(("runs", "yes" if found.obstacle is None else f"no: {visible(found.obstacle)}"))
    return rows


def _architecture(found: Inspection) -> str:
    name = visible(found.architecture) if found.architecture else "not told"
    s = found.shape
    if s is None:
        return name
    parts = [f"{s.n_layers} layers of {s.d_model}", f"{s.n_heads} heads of {s.head_dim}"]
    if s.n_kv_heads != s.n_heads:
        parts[-1] += f" ({s.n_kv_heads} of keys and values)"
    if s.d_ff:
        parts.append(f"feed-forward {s.d_ff}")
    if s.n_experts:
        parts.append(f"{s.n_experts} experts" + (f", {s.n_experts_used} of them a token" if s.n_experts_used else ""))
    return f"{name}: {', '.join(parts)}; trained on {s.trained_context:,} positions"


def _tokenizer(found: Inspection) -> str:
    v = found.vocabulary
    if v is None:
        return "none that can be used"
    kind = v.kind if v.pre is None else f"{v.kind} ({v.pre})"
    begins = f", begins with {v.bos}" if v.bos is not None else ""
    return visible(f"{kind}, {v.n_tokens:,} tokens{begins}, ends with {' or '.join(v.ends) or 'nothing'}")


def _templates(found: Inspection) -> str:
    if not found.chat_templates:
        return "none: a base model"
    return ", ".join(f"{visible(name)} ({length:,} characters)" for name, length in found.chat_templates.items())


def _memory(m: MemoryPlan, trained: int) -> list[str]:
    parts = {
        "weights": m.weights,
        "keys and values": m.kv,
        "activations": m.activations,
        "tokenizer": m.vocabulary,
        "Python": m.process,
    }
    total = f"{size(m.predicted)} with a context of {m.context:,} tokens"
    lines = [f"{total}: {', '.join(f'{name} {size(n)}' for name, n in parts.items())}"]
    if m.limit is not None:
        if m.largest_context >= trained:
            room = "room for as many as it was trained on"
        else:
            room = f"room for {m.largest_context:,} tokens" if m.largest_context else "the model does not fit"
        lines.append(f"{m.limited_by} {size(m.limit)}: {room}")
    return lines


def _shown(value: Any) -> str:
    """A value of the metadata on one line."""
    if _is_long(value):
        return f"[{', '.join(shown(v) for v in list(value[:3]))}, ...] ({len(value):,} of them)"
    text = repr(value.tolist() if hasattr(value, "tolist") else value)
    length = len(value) if isinstance(value, str) else len(text)
    return text if len(text) <= _WIDE else f"{text[:_WIDE]}... ({length:,} characters)"


def _is_long(value: Any) -> bool:
    return not isinstance(value, str) and hasattr(value, "__len__") and len(value) > _LONG


def _as_json(found: Inspection, args: argparse.Namespace) -> dict[str, Any]:
    plain = (
        "path",
        "files",
        "bytes",
        "gguf_version",
        "architecture",
        "name",
        "licence",
        "parameters",
        "bits_per_weight",
    )
    result = {key: getattr(found, key) for key in plain}
    result["types"] = [asdict(share) | {"bits_per_weight": share.bits_per_weight} for share in found.types]
    result["shape"] = found.shape and asdict(found.shape)
    result["vocabulary"] = found.vocabulary and asdict(found.vocabulary)
    result["chat_templates"] = found.chat_templates
    result["memory"] = found.memory and _memory_as_json(found.memory)
    result["obstacle"] = found.obstacle
    result["metadata"] = {key: _metadata_as_json(value) for key, value in found.metadata.items()}
    if args.tensors:
        result["tensors"] = [
            {"name": t.name, "type": t.type_name, "shape": t.shape, "offset": t.offset, "bytes": t.n_bytes}
            for t in found.tensors
        ]
    if args.plan:
        result["plan"] = found.plan and found.plan.dump().splitlines()
    return result


def _memory_as_json(m: MemoryPlan) -> dict[str, Any]:
    total = {"kv": m.kv, "predicted": m.predicted, "largest_context": m.largest_context}
    return asdict(m) | total | {"fits": m.kv <= m.kv_limit}


def _metadata_as_json(value: Any) -> Any:
    """Numbers that JSON does not have become text, such as "nan"."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if _is_long(value):
        return {"length": len(value), "first": _metadata_as_json(value[:_LONG])}
    if isinstance(value, list):
        return [_metadata_as_json(element) for element in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
