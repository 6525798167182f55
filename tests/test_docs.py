"""The tables of the documents are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from pyruntime import _core, arch, errors
from pyruntime.plan import reference

ROOT = Path(__file__).parent.parent


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """From a heading to the next of any level."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found is not None, heading
    return found.group(1)


def first_cells(text: str) -> list[str]:
    """The first cell of each row of the tables, without their heads."""
    rows = [line.strip("|").split("|")[0].strip() for line in text.splitlines() if line.startswith("|")]
    return [cell.replace("`", "") for cell in rows[2:]]


def test_operations() -> None:
    table = first_cells(section(read("docs/architecture.md"), "Operations"))
    core = re.findall(r'^    \{"(\w+)", (?:true|false),', read("csrc/engine/operations.cpp"), re.MULTILINE)
    assert len(core) > 10
    assert sorted(table) == sorted(core) == sorted(reference.OPERATIONS)


def test_formats() -> None:
    documented = first_cells(section(read("docs/numerics.md"), "Block formats"))
    assert sorted(documented) == sorted(_core.supported_types())
    assert len(documented) == 16


def test_errors() -> None:
    rows = section(read("docs/architecture.md"), "Errors")
    documented = {
        name: int(code)
        for names, code in re.findall(r"^\| (.*?) \| (\d+) \|", rows, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    }
    defined = {
        name: kind.exit_code
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.PyruntimeError) and kind is not errors.PyruntimeError
    }
    assert documented == defined


def test_families() -> None:
    table = first_cells(section(read("docs/adding-a-model.md"), "Families"))
    assert [name.replace("-", "_") for name in table] == arch.names()


def test_what_the_readme_says_runs() -> None:
    runs = section(read("README.md"), "What runs today")
    assert all(name in runs for name in _core.supported_types())
    assert f"[{len(arch.names())} of them]" in runs


def test_links_lead_somewhere() -> None:
    documents = [path.relative_to(ROOT) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))]
    assert len(documents) > 5
    for document in map(str, documents):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", read(document)):
            assert (ROOT / document).parent.joinpath(link).exists(), f"{document}: {link}"
