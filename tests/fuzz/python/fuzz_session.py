"""Session files: any bytes after a header that is right or wrong. A file is refused and nothing is changed, or it is loaded,
and the session goes on with numbers.

The first byte of an input says what of the file is put right: 1 the fingerprint, 2 the size, for the number of tokens that
the header gives, 4 the check sum. The rest is the file; to be longer, its last bytes come over and over.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import random
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tiny_models
from harness import check_message, mutate_bytes, require

from pyruntime import Model
from pyruntime.errors import ContextError, NumericsError, SessionFileError
from pyruntime.session import Session

MAGIC = b"PYRTSES1"
HEADER = 48  # magic, fingerprint, number of tokens; the ids follow
PAGE_TOKENS = 64
FINGERPRINT, SIZE, SUM = 1, 2, 4
ALL = FINGERPRINT | SIZE | SUM
REPEATED = 64  # bytes at the end
SHAPE = tiny_models.Llama(n_layers=1, d_model=32, n_heads=2, n_kv_heads=1, head_dim=16, n_rot=16, d_ff=32, n_vocab=32)
HELD = [1, 2, 3]  # what the session holds before


@functools.cache
def model() -> Model:
    return Model(tiny_models.write_llama(folder() / "tiny.gguf", SHAPE), threads=1, context=256)


@functools.cache
def folder() -> Path:
    """In memory where the system has such a folder."""
    memory = Path("/dev/shm")
    made = tempfile.mkdtemp(prefix="fuzz-", dir=memory if os.access(memory, os.W_OK) else None)
    atexit.register(shutil.rmtree, made)
    return Path(made)


def run(data: bytes) -> bool:
    path = folder() / "a.session"
    file = session_file(data)
    path.write_bytes(file)
    with model().session() as session:
        session.append(HELD)
        pages = model().engine.counters()["pages"]
        try:
            session.load(path)
        except (SessionFileError, ContextError, NumericsError) as error:
            check_message(error)
            require(session.ids == HELD, "what is refused changes nothing")
            require(model().engine.counters()["pages"] == pages, "no page is lost")
            inside = isinstance(error, NumericsError) or "token ids" in str(error) or "check sum" in str(error)
        else:
            inside = True
            require(all(0 <= i < SHAPE.n_vocab for i in session.ids), "ids are of the vocabulary")
            session.save(path)
            require(path.read_bytes() == file, "what is loaded is saved to the same bytes")
            go_on(session)
    require(model().engine.counters()["pages"] == 0, "a session gives its pages back")
    return inside


def go_on(session: Session) -> None:
    before = session.ids
    try:
        logits = session.append([4])
    except (ContextError, NumericsError) as error:
        check_message(error)
        require(session.ids == before, "a step that fails changes nothing")
    else:
        require(bool(np.isfinite(logits).all()), "logits are numbers")


def session_file(data: bytes) -> bytes:
    flags, file = data[0] if data else 0, bytearray(data[1:])
    if flags & FINGERPRINT:
        file[8:40] = model().fingerprint
    if flags & SIZE:
        file += bytes(max(0, HEADER - len(file)))
        n = struct.unpack_from("<Q", file, 40)[0] % 300  # some more than the context
        struct.pack_into("<Q", file, 40, n)
        size = HEADER + 4 * n + n // PAGE_TOKENS * model().engine.page_bytes
        last = bytes(file[HEADER:][-REPEATED:]) or b"\0"
        file = (file + last * (size // len(last) + 1))[:size]
        if flags & SUM:
            file += hashlib.sha256(file).digest()
        else:
            file += bytes(32)
    return bytes(file)


def mutate(data: bytes, draw: random.Random) -> bytes:
    """Mostly of what lies behind the header: ids of one or four bytes, halves, floats."""
    if draw.random() < 0.1:
        return mutate_bytes(data, draw)
    changed = bytearray(data.ljust(1 + HEADER + 4, b"\0"))
    if draw.random() < 0.8:
        changed[:9] = bytes([ALL]) + MAGIC
    match draw.randrange(6):
        case 0:
            changed[0] = draw.randrange(8)
        case 1:
            struct.pack_into(
                "<Q", changed, 41, draw.choice((0, 1, 63, 64, 65, 128, 200, 255, 256, 257, 2**62, 2**64 - 1))
            )
        case 2:
            place = HEADER + 1 + 4 * draw.randrange(64)
            changed[place : place + 4] = struct.pack("<i", draw.choice((0, 1, 31, 32, -1, -(2**31), 2**31 - 1)))
        case 3:
            changed[-2:] = struct.pack(
                "<H", draw.choice((0x7C00, 0x7E00, 0xFC00, 0x7BFF, 0x8000, draw.randrange(1 << 16)))
            )
        case _:
            return bytes(changed[: HEADER + 1]) + mutate_bytes(bytes(changed[HEADER + 1 :]), draw)
    return bytes(changed)


def seeds() -> Iterator[bytes]:
    for n in (0, 1, 63, 64, 65, 200, 256, 299):
        ids = struct.pack(f"<{n}i", *(i % SHAPE.n_vocab for i in range(n)))
        for tail in (b"", b"\x00\x3c", b"\x01\x00\x3c\x80", b"\x00\x7c", b"\xff\x7b"):
            yield bytes([ALL]) + MAGIC + bytes(32) + struct.pack("<Q", n) + ids + tail * 32
    for flags in range(8):
        yield bytes([flags]) + MAGIC + bytes(32) + struct.pack("<Q", 70) + bytes(400)
