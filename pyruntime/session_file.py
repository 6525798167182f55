"""Sessions on disk: the ids of a sequence and its whole KV pages.

    header   8 bytes "PYRTSES1", 32 bytes fingerprint of the model, uint64 number of tokens
    ids      int32 each
    pages    the KV cache of each 64 positions, as it lies in memory
    check    sha256 of all that comes before

Little endian. What the last page holds in part is not in the file: its tokens, at most 63, are computed again when it is
loaded, to the same bits. The fingerprint binds a file to the weights, the plan and the KV type that made it.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyruntime.errors import ContextError, SessionFileError, printable
from pyruntime.files import replacing
from pyruntime.memory_plan import PAGE_TOKENS

if TYPE_CHECKING:
    from pyruntime import _core

_HEADER = struct.Struct("<8s32sQ")
_MAGIC = b"PYRTSES1"
_CHECK_BYTES = 32


def save(path: str | os.PathLike[str], fingerprint: bytes, sequence: _core.Sequence) -> None:
    """Writes the file at once or not at all: what was there stays until all of it is written. OSError as `open`."""
    snapshot = sequence.fork()  # another thread may go on with it
    try:
        ids = np.array(snapshot.ids, "<i4")
        with replacing(Path(path)) as file:
            check = hashlib.sha256()

            def write(part: bytes | memoryview) -> None:
                check.update(part)
                file.write(part)

            write(_HEADER.pack(_MAGIC, fingerprint, len(ids)))
            write(ids.tobytes())
            for page in range(len(ids) // PAGE_TOKENS):
                write(snapshot.read_page(page).data)
            file.write(check.digest())
    finally:
        snapshot.close()


def load(path: str | os.PathLike[str], fingerprint: bytes, engine: _core.Engine) -> tuple[_core.Sequence, list[int]]:
    """A sequence with the whole pages of a file, and the ids that follow them and are still to be computed.

    SessionFileError for a file that is malformed, damaged, or of another model; ContextError if it holds more than the
    context; OSError as `open`. Nothing in it is trusted before it has been checked.
    """
    name = printable(os.fspath(path))
    sequence = engine.sequence()
    try:
        with open(path, "rb") as file:
            check = hashlib.sha256()

            def read(n: int, what: str) -> bytes:
                at = file.tell()
                part = file.read(n)
                if len(part) < n:
                    raise SessionFileError(
                        f"{name}: {what} at offset {at}: the file ends after {len(part)} of {n} bytes"
                    )
                check.update(part)
                return part

            ids = _read_ids(name, read, fingerprint, engine, os.fstat(file.fileno()).st_size)
            for at in range(0, len(ids) // PAGE_TOKENS * PAGE_TOKENS, PAGE_TOKENS):
                page = np.frombuffer(read(engine.page_bytes, f"page {at // PAGE_TOKENS}"), np.uint8)
                sequence.append_page(ids[at : at + PAGE_TOKENS], page)
            found = check.digest()
            if read(_CHECK_BYTES, "check sum") != found:
                raise SessionFileError(f"{name}: the check sum differs: the file is damaged")
        return sequence, ids[len(sequence) :].tolist()
    except BaseException:
        sequence.close()
        raise


def _read_ids(
    name: str, read: Callable[[int, str], bytes], fingerprint: bytes, engine: _core.Engine, file_bytes: int
) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    magic, made_by, n_tokens = _HEADER.unpack(read(_HEADER.size, "header"))
    if magic != _MAGIC:
        raise SessionFileError(f"{name}: header at offset 0: not a session file of this version")
    if made_by != fingerprint:
        raise SessionFileError(f"{name}: fingerprint at offset 8: saved with another model, version or KV type")
    needed = _HEADER.size + 4 * n_tokens + n_tokens // PAGE_TOKENS * engine.page_bytes + _CHECK_BYTES
    if needed != file_bytes:
        raise SessionFileError(
            f"{name}: number of tokens at offset 40: {n_tokens} make a file of {needed} bytes, this one has {file_bytes}"
        )
    if n_tokens > engine.context:
        raise ContextError(f"{name}: {n_tokens} tokens do not fit the context of {engine.context}")
    ids = np.frombuffer(read(4 * n_tokens, "token ids"), "<i4").astype(np.int32)
    wrong = np.flatnonzero((ids < 0) | (ids >= engine.n_vocab))
    if len(wrong):
        raise SessionFileError(
            f"{name}: token ids at offset {_HEADER.size + 4 * int(wrong[0])}: {ids[wrong[0]]} is outside the vocabulary "
            f"of {engine.n_vocab}"
        )
    return ids
