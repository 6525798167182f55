"""The GGUF reader: what the gguf package writes is read back equal, and every way a file can be wrong is refused."""

import os
import random
import re
import sys
import threading
import time
import timeit
from pathlib import Path

import gguf
import numpy as np
import pytest
from block_formats import WRITTEN_BY_GGUF
from cost import cost
from gguf_maker import (
    ARRAY,
    BOOL,
    FLOAT32,
    MALFORMED,
    SMALL,
    STRING,
    UINT16,
    UINT32,
    UINT64,
    Made,
    array,
    kv,
    string,
    tensor,
    too_many,
    u16,
    u32,
    u64,
)
from gguf_maker import gguf as make

from pyruntime._core import GGUF, Strings
from pyruntime.errors import GGUFError, UnsupportedError

NEWER_TYPES: set[int] = set()  # ids that only a newer gguf package knows
SCALARS = {
    "uint8": 200,
    "int8": -100,
    "uint16": 60000,
    "int16": -30000,
    "uint32": 2**32 - 1,
    "int32": -(2**31),
    "uint64": 2**64 - 1,
    "int64": -(2**63),
    "float32": 0.15625,
    "float64": 1e300,
    "bool": True,
    "string": "naïve \U0001f999\n\0",
}


def save(path: Path, made: Made) -> Path:
    path.write_bytes(made.data)
    return path


def write(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def refusal(path: Path | str) -> str:
    """The message with which `path` is refused: one line, in time, naming the file."""
    start = time.process_time()
    with pytest.raises(GGUFError) as info:
        GGUF(path)
    assert time.process_time() - start < 2
    message = str(info.value)
    assert message.isprintable()  # so it is one line
    assert message.startswith(f"{path}: ")
    return message


# Files of the gguf package


def test_metadata_of_every_type(tmp_path):
    path = tmp_path / "values.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    arrays = {}
    for name, value in SCALARS.items():
        getattr(writer, f"add_{name}")(name, value)
        if name != "string":
            arrays[f"{name}s"] = np.array([0, 1, value, value, 0], name)
            element_type = gguf.GGUFValueType[name.upper()]
            writer.add_key_value(f"{name}s", arrays[f"{name}s"].tolist(), gguf.GGUFValueType.ARRAY, element_type)
    writer.add_array("strings", ["", "a", "▁été", "x" * 5000])
    write(writer)

    with GGUF(path) as file:
        metadata = file.metadata
        assert list(metadata)[:3] == ["general.architecture", "uint8", "uint8s"]
        for name, value in SCALARS.items():
            assert (type(metadata[name]), metadata[name]) == (type(value), value)
        for key, array_written in arrays.items():
            assert metadata[key].dtype == array_written.dtype
            assert np.array_equal(metadata[key], array_written)
        assert metadata["strings"] == ["", "a", "▁été", "x" * 5000]
        assert file.metadata is metadata
        header = file.header
        assert header is file.header
        assert list(header) == list(metadata)
        strings = header["strings"]
        assert isinstance(strings, Strings)
        assert list(strings) == metadata["strings"]
        assert all(header[name] == value for name, value in SCALARS.items())
        assert (file.version, file.alignment, file.file_bytes) == (3, 32, path.stat().st_size)
        assert (file.path, file.paths, file.tensors) == (str(path), [str(path)], [])
        assert repr(file) == f"GGUF({str(path)!r}, 0 tensors)"


def test_version_2(tmp_path):
    file = GGUF(save(tmp_path / "2.gguf", make((kv("a", ARRAY, array(UINT64)),), version=u32(2))))
    assert file.version == 2
    assert (file.metadata["a"].dtype, file.metadata["a"].shape) == (np.uint64, (0,))


def test_tensors_of_every_type(tmp_path):
    types = [t for t in gguf.GGMLQuantizationType if t not in NEWER_TYPES]
    path = tmp_path / "tensors.gguf"
    rng = np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_custom_alignment(64)
    raw = {}
    for t in types:
        raw[t.name] = rng.integers(0, 256, (2, 3, gguf.GGML_QUANT_SIZES[t][1] * 2), np.uint8)
        writer.add_tensor(t.name, raw[t.name], raw_dtype=t)
    write(writer)

    file = GGUF(path)
    assert file.alignment == 64
    assert [t.name for t in file.tensors] == [t.name for t in types]
    for info, t in zip(file.tensors, types, strict=True):
        assert (info.type, info.type_name) == (t, t.name)
        assert info.shape == (2, 3, gguf.GGML_QUANT_SIZES[t][0] * 2)
        assert info.n_bytes == raw[t.name].size
        assert info.offset % 64 == 0
        assert path.read_bytes()[info.offset :][: info.n_bytes] == raw[t.name].tobytes()
        assert file.read(t.name).dtype == np.uint8
        assert np.array_equal(file.read(t.name), raw[t.name].ravel())
    assert repr(file.tensors[0]).startswith("TensorInfo(name='F32', type_name='F32', shape=(2, 3, 2), offset=")


@pytest.mark.parametrize("name", WRITTEN_BY_GGUF)
def test_dequantize(tmp_path, name):
    quantization = gguf.GGMLQuantizationType[name]
    values = np.random.default_rng(2).standard_normal((3, 700, 320)).astype(np.float32)  # 2.7 MB of F32: several chunks
    raw = gguf.quants.quantize(values, quantization)
    path = tmp_path / "q.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("w", raw.view(np.uint8), raw_dtype=quantization)
    write(writer)
    dequantized = GGUF(path).dequantize("w")
    assert (dequantized.dtype, dequantized.shape) == (np.float32, values.shape)
    assert np.array_equal(dequantized, gguf.quants.dequantize(raw, quantization))


def test_dequantize_of_an_unsupported_type(tmp_path):
    path = save(tmp_path / "iq1.gguf", make((), (tensor("w", [256], gguf.GGMLQuantizationType.IQ1_S),), bytes(50)))
    file = GGUF(path)
    assert file.tensors[0].type_name == "IQ1_S"
    with pytest.raises(UnsupportedError, match=r'iq1\.gguf: tensor "w" is IQ1_S'):
        file.dequantize("w")


def test_a_large_vocabulary_opens_in_milliseconds(tmp_path):
    words = [f"▁token{i}" for i in range(260_000)]  # 6 MB: strings and arrays go across the reader's chunks
    scores = np.arange(260_000, dtype=np.float32)
    entries = kv("words", ARRAY, array(STRING, *map(string, words))), kv("scores", ARRAY, array(FLOAT32, *scores))
    path = save(tmp_path / "vocabulary.gguf", make(entries))
    assert min(timeit.repeat(lambda: GGUF(path), number=1)) < 0.2  # 10 ms where nothing else runs
    metadata = GGUF(path).metadata
    assert metadata["words"] == words
    assert np.array_equal(metadata["scores"], scores)


def test_strings_outlive_their_file(tmp_path):
    words = ["", "a", "▁été", "x" * 5000]
    path = save(tmp_path / "words.gguf", make((kv("words", ARRAY, array(STRING, *map(string, words))),)))
    strings = GGUF(path).header["words"]
    for some in (strings, Strings(words)):
        assert list(some) == words
        assert (len(some), some[1], some[-1]) == (4, "a", "x" * 5000)
        assert (some[1:3], some[::-1]) == (words[1:3], words[::-1])
        assert repr(some) == repr(words)
        for i in (4, -5):
            with pytest.raises(IndexError):
                some[i]
        with pytest.raises(ValueError, match="slice step cannot be zero"):
            some[::0]
    assert list(Strings([])) == []
    with pytest.raises(TypeError, match="Strings are made of str"):
        Strings(["a", 5])
    with pytest.raises(UnicodeEncodeError):
        Strings(["a\ud800"])


# Split models


def write_split(folder: Path, small_first_shard: bool = False) -> list[Path]:
    writer = gguf.GGUFWriter(folder / "m.gguf", "llama", split_max_tensors=2, small_first_shard=small_first_shard)
    for i in range(5):
        writer.add_tensor(f"t{i}", np.full((2, 32), i, np.float32))
    write(writer)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("small_first_shard", [False, True])
def test_split(tmp_path, small_first_shard):
    paths = write_split(tmp_path, small_first_shard)
    file = GGUF(paths[0])
    assert file.paths == [str(path) for path in paths]
    assert len(paths) == 3 + small_first_shard
    assert file.file_bytes == sum(path.stat().st_size for path in paths)
    assert [t.name for t in file.tensors] == [f"t{i}" for i in range(5)]
    for i in range(5):
        assert np.all(file.dequantize(f"t{i}") == i)


def test_split_opened_in_the_middle(tmp_path):
    paths = write_split(tmp_path)
    message = refusal(paths[1])
    assert 'key "split.no" (byte ' in message
    assert message.endswith(f"this is part 2 of 3; open the first, {paths[0]}")


def test_split_with_a_missing_part(tmp_path):
    paths = write_split(tmp_path)
    paths[2].unlink()
    message = refusal(paths[0])
    assert f'key "split.count" (byte 91): part 3 of 3: {paths[2]}: cannot open' in message


def test_split_with_another_name(tmp_path):
    paths = write_split(tmp_path)
    assert "-00001-of-00003.gguf" in refusal(paths[0].rename(tmp_path / "renamed.gguf"))
    assert refusal(paths[1].rename(tmp_path / "2.gguf")).endswith("this is part 2 of 3; open the first")


def part(no: int, count: int = 2, n_tensors: int = 2, name: str = "") -> Made:
    """Part `no` of a split model: split.no is at byte 24, split.tensors.count at 71, the tensor at 104."""
    numbers = {"no": no, "count": count, "tensors.count": n_tensors}
    entries = tuple(kv(f"split.{key}", UINT16, u16(number)) for key, number in numbers.items())
    return make(entries, (tensor(name or f"t{no}", [8]),), bytes(32))


@pytest.mark.parametrize(
    ("first", "second", "wrong", "problem"),
    [
        (part(0, n_tensors=3), part(1, n_tensors=3), 0, 'key "split.tensors.count" (byte 71): says 3, but the parts'),
        (part(2), part(1), 0, 'key "split.no" (byte 24): this is part 3 of 2'),
        (part(0), part(0), 1, 'key "split.no" (byte 24): its split.* keys do not make it part 2 of 2 of the model'),
        (part(0), part(1, count=3), 1, 'key "split.no" (byte 24): its split.* keys'),
        (part(0), part(1, n_tensors=3), 1, 'key "split.no" (byte 24): its split.* keys'),
        (part(0), make(), 1, 'key "split.no" (byte 0): its split.* keys'),
        (part(0), part(1, name="t0"), 1, 'tensor "t0" (byte 104): the name occurs twice'),
        (part(0), Made(b"GGUF", 0), 1, "version (byte 4): 4 bytes do not fit in the 0 bytes left"),
    ],
)
def test_split_parts_that_disagree(tmp_path, first, second, wrong, problem):
    paths = [save(tmp_path / f"m-0000{i + 1}-of-00002.gguf", made) for i, made in enumerate((first, second))]
    with pytest.raises(GGUFError, match=f"^{re.escape(f'{paths[wrong]}: {problem}')}"):
        GGUF(paths[0])


def test_split_keys_of_a_whole_model_are_ignored(tmp_path):
    assert len(GGUF(save(tmp_path / "merged.gguf", part(7, count=0))).tensors) == 1


# Paths


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS refuses file names that are not UTF-8")
def test_a_path_that_is_not_text(tmp_path):
    path = save(tmp_path / os.fsdecode(b"caf\xe9\n.gguf"), make(n_tensors=u64(1)))
    with pytest.raises(GGUFError, match=r"caf\\xe9\\x0a\.gguf: tensor_count \(byte 8\): 1 tensors do not fit"):
        GGUF(path)
    save(path, make())
    assert GGUF(path).path == os.fspath(path)


def test_paths_that_are_not_files(tmp_path):
    assert "cannot open: No such file or directory" in refusal(tmp_path / "absent.gguf")
    assert "cannot open: Not a directory" in refusal(save(tmp_path / "a.gguf", make()) / "b.gguf")
    assert "is a folder; give the path of a GGUF file" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in refusal(tmp_path / "pipe")
    with pytest.raises(GGUFError, match="NUL"):
        GGUF("a\0b")
    with pytest.raises(TypeError):
        GGUF(3)


@pytest.mark.skipif(sys.platform != "linux", reason="needs files of sysfs, which cannot be read, or end too early")
def test_a_file_that_cannot_be_read():
    assert "data (byte 0): cannot read: Invalid argument" in refusal("/sys/class/net/lo/speed")
    ends = "magic (byte 2): the file ends here: it was truncated while it was being read"
    assert ends in refusal("/sys/class/net/lo/addr_len")  # "6" and a newline, where 4096 bytes are announced


@pytest.fixture
def secret(tmp_path):
    path = save(tmp_path / "secret.gguf", make())
    path.chmod(0)
    return path


def test_path_without_permission(secret, unprivileged):
    assert "cannot open: Permission denied" in refusal(secret)


# Malformed files


@pytest.mark.parametrize(("made", "field", "problem"), [pytest.param(*case[1:], id=case[0]) for case in MALFORMED])
def test_malformed(tmp_path, made, field, problem):
    path = save(tmp_path / "bad.gguf", made)
    message = refusal(path)
    assert message.startswith(f"{path}: {field} (byte {made.at}): {problem}")


def test_more_than_a_header_may_have(tmp_path):
    for _, made, field, problem in too_many():
        path = save(tmp_path / "bad.gguf", made)
        assert refusal(path).startswith(f"{path}: {field} (byte {made.at}): {problem}")


def test_what_is_refused_takes_no_memory(tmp_path):
    paths = [save(tmp_path / f"{i}.gguf", case[1]) for i, case in enumerate(MALFORMED)]
    with cost() as spent:
        for path in paths:
            refusal(path)
    assert spent.megabytes < 16


def test_the_largest_headers_take_little_time_and_memory(tmp_path):
    """As many tensors and strings as there may be; the objects of Python that the strings become take most."""
    words = b"".join(string(f"{i:02x}") for i in range(2**8)) * 2**14  # 40 MB
    names = b"".join(string(f"{i:07}") + u32(1) + u64(1) + u32(0) + u64(32 * i) for i in range(2**18 - 1))
    last = tensor("0000000", [1], offset=32 * (2**18 - 1), mark="")
    path = tmp_path / "large.gguf"
    made = make((kv("a", ARRAY, array(STRING, words, n=2**22)),), (names, last), n_tensors=u64(2**18))
    save(path, made)
    os.truncate(path, len(made.data) + 2**18 * 32 + 32)
    with cost() as spent:
        assert "the name occurs twice" in refusal(path)
    assert spent.megabytes < 500
    path.write_bytes(make((kv("a", ARRAY, array(STRING, words, n=2**22)),)).data)
    with cost() as spent:
        assert len(GGUF(path).metadata["a"]) == 2**22
    assert spent.seconds < 2
    assert spent.megabytes < 500


def test_truncation_at_every_byte(tmp_path):
    path = tmp_path / "cut.gguf"
    path.write_bytes(SMALL)
    assert len(GGUF(path).tensors) == 2
    for n in reversed(range(len(SMALL))):
        os.truncate(path, n)
        assert " (byte " in refusal(path), n


def test_random_mutants(tmp_path):
    rng = random.Random(3)
    past_the_counts = 0
    with (tmp_path / "mutant.gguf").open("wb", buffering=0) as mutant_file:
        for _ in range(2000):
            mutant = bytearray(SMALL)
            for _ in range(rng.choice((1, 1, 2, 8))):
                mutant[rng.randrange(4, len(mutant))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            mutant_file.seek(0)
            mutant_file.write(mutant)
            try:
                with GGUF(mutant_file.name) as file:
                    past_the_counts += 1
                    assert len(file.metadata) > 0
                    for t in file.tensors:
                        assert file.read(t.name).size == t.n_bytes
                        assert file.dequantize(t.name).shape == t.shape
            except UnsupportedError:
                pass
            except GGUFError as e:
                past_the_counts += ": key " in str(e) or ": tensor " in str(e)
    assert past_the_counts > 1500


def test_a_huge_count_allocates_nothing(tmp_path):
    """A sparse file of 8 TB, in which 2^40 strings, floats or tensors would fit."""
    files = [make(n_entries=u64(2**38)), make(n_tensors=u64(2**36))]
    files += [make((kv("a", ARRAY, array(kind, n=2**40)),)) for kind in (STRING, BOOL, UINT32)]
    paths = [save(tmp_path / f"{i}.gguf", made) for i, made in enumerate(files)]
    try:
        for path in paths:
            os.truncate(path, 2**43)
    except OSError as e:
        pytest.skip(f"needs a file system with sparse files of 8 TB: {e}")
    for path in paths:
        with cost() as spent, pytest.raises(GGUFError, match="bytes left of the 64 MiB that a header may take"):
            GGUF(path)
        assert spent.megabytes < 16


# Reading


def test_reading_while_closing_and_after(tmp_path):
    path = save(tmp_path / "a.gguf", make((), (tensor("t", [2**18]),), bytes(2**20)))
    file = GGUF(path)
    with pytest.raises(GGUFError, match=r'a\.gguf: there is no tensor "u\\x0a"'):
        file.read("u\n")
    outcomes = []

    def read() -> None:
        try:
            while True:
                outcomes.append(file.read("t").size)
        except GGUFError as e:
            outcomes.append(str(e))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(outcomes) < 20:
        time.sleep(0.001)
    file.close()
    file.close()
    for thread in threads:
        thread.join()
    assert set(outcomes) == {2**20, f'{path}: cannot read tensor "t": the file is closed'}
    assert (file.metadata, file.tensors[0].name) == ({}, "t")


def test_a_file_truncated_while_it_is_open(tmp_path):
    path = save(tmp_path / "a.gguf", make((), (tensor("a", [8]), tensor("t", [2**20], offset=32)), bytes(2**22 + 32)))
    file = GGUF(path)
    os.truncate(path, 1_000_000)
    assert file.read("a").size == 32
    for method in (file.read, file.dequantize):
        with pytest.raises(
            GGUFError, match=r'a\.gguf: tensor "t" \(byte 1000000\): the file ends here: it was truncated'
        ):
            method("t")


def test_a_file_that_is_shorter_than_it_claims():
    path = Path("/sys/kernel/fscaps")  # its size is said to be a page, and two bytes can be read
    if not path.exists():
        pytest.skip("needs a Linux sysfs, for a file that is truncated before it is read")
    assert "magic (byte 2): the file ends here: it was truncated while it was being read" in refusal(path)
