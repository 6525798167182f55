"""GGUF files made byte by byte, so that they can be wrong in one place and say where; and those that are (MALFORMED).

`HERE` put before some bytes marks them as the wrong ones: `gguf()` takes it out and returns its offset beside the file.
"""

import struct
from collections.abc import Iterator
from math import prod
from typing import NamedTuple

HERE = b"<<here>>"

UINT8, INT8, UINT16, INT16, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, INT64, FLOAT64 = range(13)
F32, Q4_0, Q6_K = 0, 2, 14


class Made(NamedTuple):
    data: bytes
    at: int  # of HERE, or -1


def u8(value: int) -> bytes:
    return struct.pack("<B", value)


def u16(value: int) -> bytes:
    return struct.pack("<H", value)


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


def string(text: str | bytes, n: int | None = None) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return u64(len(raw) if n is None else n) + raw


def kv(key: str | bytes, value_type: int, value: bytes, mark: bytes = b"") -> bytes:
    """A metadata entry; `mark` stands before the type."""
    return string(key) + mark + u32(value_type) + value


def array(element_type: int, *elements: bytes, n: int | None = None, mark: bytes = b"") -> bytes:
    """The value of an entry of type ARRAY; `mark` stands before the number of elements."""
    return u32(element_type) + mark + u64(len(elements) if n is None else n) + b"".join(elements)


def tensor(name: str | bytes, dims: list[int], tensor_type: int = F32, offset: int = 0, mark: str = "") -> bytes:
    """A row of the tensor table; `mark` names what HERE stands before: n_dims, dims, type or offset."""
    fields = {
        "n_dims": u32(len(dims)),
        "dims": b"".join(u64(d) for d in dims),
        "type": u32(tensor_type),
        "offset": u64(offset),
    }
    return string(name) + b"".join(HERE * (field == mark) + raw for field, raw in fields.items())


def gguf(
    entries: tuple[bytes, ...] = (),
    tensors: tuple[bytes, ...] = (),
    data: bytes = b"",
    *,
    magic: bytes = b"GGUF",
    version: bytes = u32(3),
    n_tensors: bytes | None = None,
    n_entries: bytes | None = None,
    alignment: int = 32,
) -> Made:
    """A file; the counts are those of the sequences unless given. Data is padded to `alignment`, if there is any."""
    header = magic + version
    header += u64(len(tensors)) if n_tensors is None else n_tensors
    header += u64(len(entries)) if n_entries is None else n_entries
    header += b"".join(entries) + b"".join(tensors)
    at = header.find(HERE)
    header = header.replace(HERE, b"")
    if data:
        header += bytes(-len(header) % alignment)
    return Made(header + data, at)


# A well-formed file that has a bit of everything.
SMALL = gguf(
    (
        kv("general.architecture", STRING, string("llama")),
        kv("general.alignment", UINT32, u32(64)),
        kv("words", ARRAY, array(STRING, string("a"), string("é"))),
        kv("flags", ARRAY, array(BOOL, u8(0), u8(1))),
        kv("scores", ARRAY, array(FLOAT32, u32(0), u32(1))),
        kv("count", UINT64, u64(7)),
    ),
    (tensor("blk.0.w", [32, 2], Q4_0), tensor("blk.0.b", [16], offset=64)),
    bytes(128),
    alignment=64,
).data

# The malformed files: an id, the file with HERE at the fault, the field that the message names, how it goes on.
Case = tuple[str, Made, str, str]


def bad_header() -> Iterator[Case]:
    cut = "4 bytes do not fit in the 0 bytes left of the file; it was cut short or is damaged: download it again"
    yield "empty", Made(b"", 0), "magic", cut
    yield "magic", gguf(magic=HERE + b"GG\x1bF"), "magic", r'not a GGUF file: it starts with "GG\x1bF", not "GGUF"'
    yield "lfs", Made(b"version https://git-lfs.github.com/spec/v1\n", 0), "magic", "a Git LFS pointer"
    yield "v0", gguf(version=HERE + u32(0)), "version", "GGUF version 0 is not supported, only 2 and 3"
    yield "v1", gguf(version=HERE + u32(1)), "version", "GGUF version 1 is not supported, only 2 and 3; convert"
    yield "v4", gguf(version=HERE + u32(4)), "version", "GGUF version 4 is not supported, only 2 and 3"
    yield "big-endian", gguf(version=HERE + u32(3 << 24)), "version", "a big-endian file; make a little-endian one"


def bad_metadata() -> Iterator[Case]:
    def one(entry: bytes, problem: str, field: str = 'key "a"') -> tuple[Made, str, str]:
        return gguf((entry,)), field, problem

    yield "key-empty", *one(HERE + kv("", UINT8, u8(1)) + u8(0), "the key is empty", "key 0 of 1")
    yield (
        "key-long",
        *one(HERE + kv("k" * 65536, UINT8, u8(1)), "65536 bytes of a string, where at most 65535", "key 0 of 1"),
    )
    yield "key-utf8", *one(HERE + kv(b"a\xff", UINT8, u8(1)), "the string is not valid UTF-8", "key 0 of 1")
    yield "key-twice", gguf((kv("a", BOOL, u8(1)), HERE + kv("a", BOOL, u8(1)))), 'key "a"', "the key occurs twice"
    yield "type", *one(kv("a", 13, u8(1), HERE), "GGUF has no value type 13")
    yield "type-of-array", *one(kv("a", ARRAY, HERE + array(99)), "GGUF has no value type 99")
    yield "nested", *one(kv("a", ARRAY, HERE + array(ARRAY, array(UINT8))), "an array of arrays is not supported")
    yield "bool", *one(kv("a", BOOL, HERE + u8(2)), "a bool is 0 or 1, not 2")
    yield "bool-in-array", *one(kv("a", ARRAY, array(BOOL, u8(1), HERE + u8(7))), "a bool is 0 or 1, not 7")
    unsafe = kv("a\n\x1b\u202e\x85\u2028", BOOL, HERE + u8(2))
    yield "escaped", *one(unsafe, "a bool", r'key "a\x0a\x1b\u202e\x85\u2028"')
    yield "shortened", *one(kv("ä" * 300, BOOL, HERE + u8(2)), "a bool", f'key "{"ä" * 64}..."')

    # A stray tail, overlong forms, cut short, a surrogate, past U+10FFFF, five bytes; and around the eight at a time.
    for text in ("80", "c0af", "c3", "e080af", "e282", "e228a1", "eda080", "f08080af", "f4908080", "f888808080"):
        for before in ("", "1234567", "12345678"):
            value = HERE + string(before.encode() + bytes.fromhex(text))
            yield f"utf8-{before}{text}", *one(kv("a", STRING, value), "the string is not valid UTF-8")
    words = array(STRING, string("fine"), HERE + string(b"\xff"))
    yield "utf8-in-array", *one(kv("a", ARRAY, words), "the string is not valid UTF-8")

    key, problem = "general.alignment", "must be a uint32 power of two from 8 on"
    yield "alignment-type", *one(HERE + kv(key, INT32, u32(32)), problem, f'key "{key}"')
    for n in (0, 4, 48):
        yield f"alignment-{n}", *one(HERE + kv(key, UINT32, u32(n)), problem, f'key "{key}"')

    count = kv("split.count", UINT16, u16(2))
    yield "split-no", *one(HERE + count, "missing, though split.count is there", 'key "split.no"')
    for name, kind, value in (
        ("negative", INT32, u32(2**32 - 1)),
        ("text", STRING, string("0")),
        ("bool", BOOL, u8(0)),
    ):
        made = gguf((count, HERE + kv("split.no", kind, value)))
        yield f"split-{name}", made, 'key "split.no"', "must be an integer, not negative"


def bad_tensors() -> Iterator[Case]:
    def one(row: bytes, problem: str, field: str = 'tensor "t"', n_bytes: int = 32) -> tuple[Made, str, str]:
        return gguf((), (row,), bytes(n_bytes)), field, problem

    yield "name-empty", *one(HERE + tensor("", [8]), "the tensor name is empty", "tensor 0 of 1")
    yield (
        "name-long",
        *one(HERE + tensor("n" * 65536, [8]), "65536 bytes of a string, where at most 65535", "tensor 0 of 1"),
    )
    yield "name-utf8", *one(HERE + tensor(b"\xff", [8]), "the string is not valid UTF-8", "tensor 0 of 1")
    twice = (tensor("t", [8]), HERE + tensor("t", [8], offset=32))
    yield "name-twice", gguf((), twice, bytes(64)), 'tensor "t"', "the name occurs twice"
    for n in (0, 5, 2**32 - 1):
        row = string("t") + HERE + u32(n) + bytes(64)
        yield f"n-dims-{n}", *one(row, f"{n} dimensions, where 1 to 4 may be")
    yield "dim-0", *one(tensor("t", [0], mark="dims"), "dimension 0 is 0")
    for n in (4, 5, 31, 36, 200, 2**32 - 1):
        yield f"type-{n}", *one(tensor("t", [8], n, mark="type"), f"tensor type {n} is none that this version knows")
    row = tensor("t", [48, 2], Q4_0, mark="dims")
    yield "row", *one(row, "a row of 48 elements is not a whole number of Q4_0 blocks of 32")
    row = tensor("t", [128, 2], Q6_K, mark="dims")
    yield "k row", *one(row, "a row of 128 elements is not a whole number of Q6_K blocks of 256")

    row = tensor("t", [8], offset=16, mark="offset")
    yield "unaligned", *one(row, "offset 16 is not a multiple of the alignment, 32", n_bytes=64)
    rows = (tensor("t", [8], offset=32, mark="offset"),)
    made = gguf((kv("general.alignment", UINT32, u32(64)),), rows, bytes(128), alignment=64)
    yield "unaligned-64", made, 'tensor "t"', "offset 32 is not a multiple of the alignment, 64"
    for n in (0, 31):
        problem = f"32 bytes of data at offset 0 do not fit in the {n} bytes of the data section; the file may"
        yield f"data-{n}", *one(tensor("t", [8], mark="offset"), problem, n_bytes=n)
    rows = (tensor("b", [9], offset=32), HERE + tensor("c", [8], offset=64), tensor("a", [8]))
    yield "overlap", gguf((), rows, bytes(96)), 'tensor "c"', 'its data overlaps that of tensor "b"'
    rows = (tensor("a", [8]), HERE + tensor("b", [8]))
    yield "same-data", gguf((), rows, bytes(32)), 'tensor "b"', 'its data overlaps that of tensor "a"'


def huge_numbers() -> Iterator[Case]:
    for n in (2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**61, 2**63 - 1, 2**63, 2**64 - 1):
        yield f"tensors-{n}", gguf(n_tensors=HERE + u64(n)), "tensor_count", f"{n} tensors do not fit in the 8"
        yield f"entries-{n}", gguf(n_entries=HERE + u64(n)), "metadata_kv_count", f"{n} metadata entries do not fit in"
        unread = f"{n} bytes of a string do not fit in the"
        yield f"key-{n}", gguf((HERE + string("abcdef", n),)), "key 0 of 1", f"{unread} 6 bytes left"
        yield f"string-{n}", gguf((kv("a", STRING, HERE + string("b", n)),)), 'key "a"', f"{unread} 1 bytes left"
        yield f"name-{n}", gguf((), (HERE + string(bytes(25), n),)), "tensor 0 of 1", f"{unread} 25 bytes left"
        for kind in (BOOL, UINT8, FLOAT32, UINT64, STRING):
            made = gguf((kv("a", ARRAY, array(kind, u8(1), n=n, mark=HERE)),))
            yield f"array-{kind}-{n}", made, 'key "a"', f"{n} array elements do not fit in the 1 bytes left"
        offset = n // 32 * 32
        made = gguf((), (tensor("t", [8], offset=offset, mark="offset"),), bytes(32))
        yield f"offset-{n}", made, 'tensor "t"', f"32 bytes of data at offset {offset} do not fit in the 32"

    for dims in ([2**40], [2**61], [2**31, 2**30], [2**15] * 4, [1, 1, 1, 2**61]):  # in bytes still below 2^64
        made = gguf((), (tensor("t", dims, mark="offset"),), bytes(32))
        yield f"dims-{dims}", made, 'tensor "t"', f"{4 * prod(dims)} bytes of data at offset 0 do not fit in the 32"
    for dims in ([2**62], [2**63, 2], [2**32, 2**32], [2**32 - 1, 2**32 - 1], [2**16] * 4, [2**64 - 1] * 4, [2, 2**63]):
        made = gguf((), (tensor("t", dims, mark="dims"),), bytes(32))
        yield f"dims-{dims}", made, 'tensor "t"', "the product of the dimensions overflows 64 bits"
    made = gguf((), (tensor("t", [2**32, 2**32], Q4_0, mark="dims"),), bytes(32))  # the elements wrap, the bytes do not
    yield "dims-elements", made, 'tensor "t"', "the product of the dimensions overflows 64 bits"


def too_many() -> Iterator[Case]:
    """More than a header may have, though the file has room for them: a quick refusal instead of a GB."""
    n, room = 2**16 + 1, bytes(14 * (2**16 + 1))
    made = gguf((room,), n_entries=HERE + u64(n))
    yield "many-entries", made, "metadata_kv_count", f"{n} metadata entries, where at most {2**16} may be"
    n, room = 2**18 + 1, bytes(33 * (2**18 + 1))
    yield (
        "many-tensors",
        gguf((), (room,), n_tensors=HERE + u64(n)),
        "tensor_count",
        f"{n} tensors, where at most {2**18}",
    )
    half = kv("half", ARRAY, array(STRING, bytes(8 * 2**21), n=2**21))
    rest = kv("rest", ARRAY, array(STRING, bytes(8 * (2**21 + 1)), n=2**21 + 1, mark=HERE))
    yield "many-strings", gguf((half, rest)), 'key "rest"', f"{2**21 + 1} array elements, where at most {2**21} may be"


MALFORMED = [*bad_header(), *bad_metadata(), *bad_tensors(), *huge_numbers()]  # too_many() apart: they are large
