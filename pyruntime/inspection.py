"""What a model file is, out of its header alone: no weight is read, so that any size takes a moment."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyruntime import _core, arch
from pyruntime.arch.hparams import HParams
from pyruntime.chat_template.named import in_metadata
from pyruntime.errors import PyruntimeError
from pyruntime.memory_plan import MemoryPlan, memory_needs
from pyruntime.system import default_threads
from pyruntime.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from pyruntime.plan import Plan


@dataclass(frozen=True, slots=True)
class TypeShare:
    """What a file has of one type of tensor. A block's scales count among its bits."""

    type: str
    tensors: int
    parameters: int
    bytes: int

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.bytes / self.parameters if self.parameters else 0.0


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of the metadata. None: the file does not say."""

    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_ff: int | None
    n_experts: int | None
    n_experts_used: int | None
    trained_context: int


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokenizer: GGUF's names of its kind and its splitting rule, and the tokens that it begins and ends with."""

    kind: str
    pre: str | None
    n_tokens: int
    bos: str | None  # where prompts begin with it
    ends: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """A model file. `obstacle` is why this version does not run it, or not its text; None where it does."""

    path: str
    files: tuple[str, ...]
    bytes: int
    gguf_version: int
    architecture: str | None
    name: str | None
    licence: str | None
    parameters: int
    types: tuple[TypeShare, ...]  # those with the most bytes first
    shape: Shape | None
    vocabulary: Vocabulary | None
    chat_templates: dict[str, int]  # characters of each, by name
    memory: MemoryPlan | None
    obstacle: str | None
    metadata: dict[str, Any]
    tensors: tuple[_core.TensorInfo, ...]
    plan: Plan | None

    @property
    def bits_per_weight(self) -> float:
        """Of all tensors together."""
        return 8 * sum(t.bytes for t in self.types) / self.parameters if self.parameters else 0.0


def inspect(
    path: str | os.PathLike[str],
    *,
    context: int | None = None,
    kv_type: str = "f16",
    threads: int | None = None,
    ram: int | None = None,
) -> Inspection:
    """Looks at a GGUF file (the first one of a split model). The arguments are those of `Model`, and change `memory`.

    Raises GGUFError for a file that cannot be read as one. What it holds may be anything: metadata that makes no model, or an
    architecture of another version, is the `obstacle`.
    """
    path = os.fspath(path)
    with _core.GGUF(path) as file:
        metadata, header, tensors = file.metadata, file.header, file.tensors
        blueprint, memory, obstacle = None, None, None
        try:
            blueprint = arch.blueprint(file, context)
            memory = memory_needs(
                file, blueprint.plan, blueprint.context, threads=threads or default_threads(), kv_type=kv_type, ram=ram
            )
        except PyruntimeError as error:
            obstacle = str(error)
        paths, n_bytes, version = file.paths, file.file_bytes, file.version
    vocabulary, no_text = _vocabulary(header, path)
    return Inspection(
        path=path,
        files=tuple(paths),
        bytes=n_bytes,
        gguf_version=version,
        architecture=_text(metadata, "general.architecture"),
        name=_text(metadata, "general.name"),
        licence=_text(metadata, "general.license"),
        parameters=sum(math.prod(t.shape) for t in tensors),
        types=_types(tensors),
        shape=None if blueprint is None else _shape(blueprint.hparams),
        vocabulary=vocabulary,
        chat_templates={name: len(source) for _, name, source in in_metadata(metadata) if isinstance(source, str)},
        memory=memory,
        obstacle=obstacle or no_text,
        metadata=metadata,
        tensors=tuple(tensors),
        plan=None if blueprint is None else blueprint.plan,
    )


def _types(tensors: list[_core.TensorInfo]) -> tuple[TypeShare, ...]:
    by_type: dict[str, list[_core.TensorInfo]] = {}
    for tensor in tensors:
        by_type.setdefault(tensor.type_name, []).append(tensor)
    shares = [
        TypeShare(name, len(some), sum(math.prod(t.shape) for t in some), sum(t.n_bytes for t in some))
        for name, some in by_type.items()
    ]
    return tuple(sorted(shares, key=lambda share: -share.bytes))


def _shape(hparams: HParams) -> Shape:
    def count(key: str) -> int | None:
        try:
            return hparams.count(key) or None
        except PyruntimeError:  # one number a layer: no number of the model
            return None

    return Shape(
        hparams.n_layers, hparams.d_model, hparams.n_heads, hparams.n_kv_heads, hparams.head_dim,
        count("feed_forward_length"), count("expert_count"), count("expert_used_count"), hparams.context_length,
    )  # fmt: skip


def _vocabulary(metadata: dict[str, Any], path: str) -> tuple[Vocabulary | None, str | None]:
    """The tokenizer, and why it cannot be used."""
    try:
        tokenizer = load_tokenizer(metadata, path)
    except PyruntimeError as error:
        return None, str(error)
    bos = tokenizer.token(tokenizer.bos_id) if tokenizer.add_bos and tokenizer.bos_id is not None else None
    vocabulary = Vocabulary(
        str(metadata.get("tokenizer.ggml.model")), _text(metadata, "tokenizer.ggml.pre"), tokenizer.n_vocab, bos,
        tuple(tokenizer.token(i) for i in sorted(tokenizer.end_ids)),
    )  # fmt: skip
    try:
        tokenizer.encode("a")
    except PyruntimeError as error:
        return vocabulary, str(error)
    return vocabulary, None


def _text(metadata: dict[str, Any], key: str) -> str | None:
    value = metadata.get(key)
    return value if isinstance(value, str) else None
