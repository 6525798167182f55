"""What the originals and llama.cpp make of some 2,400 texts, stored by data/make_piece_goldens.py, and how to compare."""

from __future__ import annotations

import functools
import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyruntime.tokenizer import Tokenizer, load_tokenizer

_PATH = Path(__file__).parent / "data" / "tokenizer" / "pieces.json.xz"


@functools.cache
def _stored() -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(lzma.decompress(_PATH.read_bytes()))
    return stored


def texts() -> list[str]:
    found: list[str] = _stored()["texts"]
    assert len(found) >= 2000
    return found


def metadata(kind: str, **changes: Any) -> dict[str, Any]:
    """The small vocabulary of a kind. `changes` are tokenizer.ggml keys, with '__' for '.'; None removes one."""
    values = dict(_stored()[kind]["metadata"])
    if "precompiled_charsmap" in values:
        values["precompiled_charsmap"] = [*bytes.fromhex(values["precompiled_charsmap"])]
    values |= {key.replace("__", "."): value for key, value in changes.items()}
    return {f"tokenizer.ggml.{key}": value for key, value in values.items() if value is not None}


def tokenizer(kind: str, **changes: Any) -> Tokenizer:
    return load_tokenizer(metadata(kind, **changes), "m.gguf")


def rows(kind: str, oracle: str) -> Iterator[tuple[str, list[int]]]:
    """Each text with its ids by an oracle, but for texts that it was not asked about."""
    by_kind = _stored()[kind]
    for i, (text, ids) in enumerate(zip(texts(), by_kind["llama.cpp"], strict=True)):
        # Other oracles are stored as what they say otherwise than llama.cpp does.
        ids = ids if oracle == "llama.cpp" else by_kind[oracle].get(str(i), ids)
        if ids is not None:
            yield text, ids


def with_special(kind: str) -> Iterator[tuple[str, list[int]]]:
    """Some texts with their ids by llama.cpp, BOS, CLS, SEP and EOS included."""
    yield from zip(texts(), _stored()[kind]["llama.cpp, add_special"], strict=False)


def check_streaming(t: Tokenizer, ids: list[int], **options: Any) -> None:
    """What is decoded token by token is what is decoded at once, and holds no half characters."""
    stream = t.stream_decoder(**options)
    pieces = [*map(stream.push, ids), stream.finish()]
    assert "".join(pieces) == t.decode(ids, **options) == t.decode_bytes(ids, **options).decode("utf-8", "replace")
