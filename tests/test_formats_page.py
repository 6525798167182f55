"""docs/formats.md says what is: its diagrams, its formulas, and what packed weights take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import gguf
import numpy as np
import pytest
from block_formats import HALVES, dequantize, set_halves
from numpy.typing import NDArray
from tiny_models import Llama, every_type, write_llama

from pyruntime import _core

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
GGUF_SIZES = {kind.name: gguf.GGML_QUANT_SIZES[kind] for kind in gguf.GGMLQuantizationType}


class Section(NamedTuple):
    n_bytes: int
    n_elements: int
    bits: float
    offsets: list[int]
    fields: list[tuple[str, str]]  # name, type
    formulas: str


def section(match: re.Match[str]) -> Section:
    _, n_bytes, n_elements, bits, diagram, formulas = match.groups()
    offsets, rule, names, types, last = diagram.splitlines()
    assert rule == last
    assert [len(cell) for cell in names.split("|")] == [len(cell) for cell in types.split("|")]
    assert [m.start() for m in re.finditer(r"\+", rule)] == [m.start() for m in re.finditer(r"\d+", offsets)]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in (names, types)]
    return Section(
        int(n_bytes), int(n_elements), float(bits), [int(x) for x in offsets.split()], list(zip(*cells, strict=True)),
        formulas,
    )  # fmt: skip


SECTIONS = {
    match.group(1): section(match)
    for match in re.finditer(
        r"^### (\w+)\n(\d+) bytes for (\d+) elements: ([\d.]+) bits each.*?\n\n```\n(.*?)```\n\n```text\n(.*?)```\n",
        PAGE,
        re.MULTILINE | re.DOTALL,
    )
}
TABLE = {
    cells[0]: (int(cells[1]), [int(x) for x in re.findall(r"\d", cells[2])], int(cells[3]))
    for cells in ([c.strip() for c in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|"))
    if len(cells) == 5 and cells[1].isdigit()
}


def structs() -> dict[str, list[tuple[str, int]]]:
    """Fields and their bytes by format, out of the C++ structs, whose sizes the compiler asserts."""
    source = (ROOT / "csrc" / "formats" / "blocks.h").read_text(encoding="utf-8")
    found = {}
    for name, body in re.findall(r"^struct Block(\w+) \{\n(.*?)^\};", source, re.MULTILINE | re.DOTALL):
        fields = []
        for bits, names in re.findall(r"^ +u?int(\d+)_t ([^;]+);", body, re.MULTILINE):
            for field, count in re.findall(r"(\w+)(?:\[(\d+)\])?", names):
                fields.append((field, int(bits) // 8 * int(count or 1)))
        found[name] = fields
    return found


def codebook(name: str) -> list[int]:
    match = re.search(rf"^`{name}` = (.*)$", PAGE, re.MULTILINE)
    assert match is not None
    return [int(x) for x in match.group(1).split(",")]


def read_fields(block: NDArray[np.uint8], s: Section) -> dict[str, object]:
    """The names of a diagram with their values in a block, as its types say."""
    values: dict[str, object] = {"T": codebook("T"), "E": codebook("E")}
    for (name, kind), begin, end in zip(s.fields, s.offsets[:-1], s.offsets[1:], strict=True):
        data = block[begin:end]
        if kind == "f16":
            values[name] = data.view(np.float16)[0].astype(np.float32)
        elif kind == "u16":
            values[name] = int(data.view(np.uint16)[0])
        elif kind == "1 byte":
            values[name] = int(data[0])
        elif kind.endswith(" int8"):
            values[name] = data.view(np.int8).tolist()
        else:
            assert kind == f"{len(data)} bytes"
            values[name] = data.tolist()
    return values


def evaluate(formulas: str, fields: dict[str, object], n: int) -> NDArray[np.float32]:
    code = compile(formulas, "docs/formats.md", "exec")
    result = []
    for i in range(n):
        names = fields | {"i": i}
        exec(code, names)  # noqa: S102 - the project's own page
        result.append(np.float32(names["value"]))
    return np.array(result)


def test_the_page_has_every_format() -> None:
    numbers = {"F32": 4, "F16": 2, "BF16": 2}
    assert re.findall(r"^\| (\w+) \| (\d+) \| [IEt]", PAGE, re.MULTILINE) == [(k, str(n)) for k, n in numbers.items()]
    assert {name: (1, n) for name, n in numbers.items()}.items() <= GGUF_SIZES.items()
    assert set(SECTIONS) == set(HALVES) == set(_core.supported_types()) - set(numbers)
    assert set(TABLE) == set(_core.supported_types())


@pytest.mark.parametrize("name", HALVES)
def test_diagram(name: str) -> None:
    s = SECTIONS[name]
    core = {name: (n_elements, n_bytes) for name, n_elements, n_bytes in _core.type_sizes().values()}
    assert (s.n_elements, s.n_bytes) == core[name] == GGUF_SIZES[name]
    assert s.bits == float(f"{s.n_bytes * 8 / s.n_elements:.4g}")
    assert (s.offsets[0], s.offsets[-1]) == (0, s.n_bytes)
    sizes = [end - begin for begin, end in zip(s.offsets[:-1], s.offsets[1:], strict=True)]
    assert list(zip([field for field, _ in s.fields], sizes, strict=True)) == structs()[name]


@pytest.mark.parametrize("name", HALVES)
def test_formulas(name: str) -> None:
    s, rng = SECTIONS[name], np.random.default_rng(7)
    blocks = rng.integers(0, 256, (4, s.n_bytes), np.uint8)
    if name == "MXFP4":
        blocks[:, 0] = [0, 1, 127, 252]  # denormal, and the largest whose every value is finite
    halves = rng.normal(0, 1, (4, len(HALVES[name]))).astype(np.float16)
    blocks = set_halves(blocks, name, halves.view(np.uint16))
    ours = [evaluate(s.formulas, read_fields(block, s), s.n_elements) for block in blocks]
    np.testing.assert_array_equal(np.concatenate(ours).view(np.uint32), dequantize(blocks, name).view(np.uint32))


def test_planes_are_those_of_the_code() -> None:
    sources = "".join((ROOT / "csrc" / "formats" / f"{name}.h").read_text() for name in ("legacy", "k", "iq"))
    named = re.findall(r"using Block = Block(\w+);\n    using Codes = Planes<([\d, ]+)>", sources)
    assert {name for name, _ in named} == set(HALVES)
    for name, planes in named:
        assert TABLE[name][1] == [int(x) for x in planes.split(",")], name
        assert TABLE[name][0] == 64 * sum(TABLE[name][1]), name


def test_packed_sizes(tmp_path: Path) -> None:
    shape = Llama(n_layers=5, d_model=256, n_heads=8, d_ff=512)  # 211 rows of vocabulary: a group that is not full
    types = every_type(shape)
    assert set(types.values()) == set(TABLE)
    with _core.GGUF(write_llama(tmp_path / "every.gguf", shape, types)) as file:
        for tensor in file.tensors:
            if len(tensor.shape) == 2:
                rows, cols = tensor.shape
                codes, _, scales = TABLE[tensor.type_name]
                group = codes * cols // 32 + scales * cols // 256
                assert _core.loaded_bytes(file, [tensor.name], []) == -(-rows // 16) * (-(-group // 64) * 64), (
                    tensor.name
                )
