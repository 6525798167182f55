"""What is published: an sdist that builds without a network, and a wheel that holds the package and nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
import tiny_gguf
from distributions import ROOT, Distributions, environment, run

import pyruntime
from pyruntime import _core

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAME = f"pyruntime-{pyruntime.__version__}"
RUN_TINY = Path(__file__).parent / "run_tiny.py"


def files_of(folder: str) -> set[str]:
    """Of the checkout, without what is built or cached in it."""
    found = {path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix not in (".so", ".pyc")}
    return {path.relative_to(ROOT).as_posix() for path in found}


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        return Parser().parsestr(archive.read(f"{NAME}.dist-info/METADATA").decode())


def test_the_extension_does_not_claim_to_need_no_gil() -> None:
    """docs/installing.md says so. pybind11 declares a module free of the GIL where it is asked to, and nowhere else."""
    sources = list((ROOT / "csrc" / "bindings").glob("*.cpp"))
    assert "PYBIND11_MODULE(_core, m) {" in "".join(source.read_text(encoding="utf-8") for source in sources)
    assert not [source.name for source in sources if "gil_not_used" in source.read_text(encoding="utf-8")]
    assert "does not declare that it needs no GIL" in (ROOT / "docs" / "installing.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_sdist_holds_what_builds_and_nothing_else(distributions: Distributions) -> None:
    beside = {"CMakeLists.txt", "CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
    with tarfile.open(distributions.sdist) as archive:
        held = {member.name.removeprefix(f"{NAME}/"): member.size for member in archive.getmembers() if member.isfile()}
    assert set(held) == files_of("csrc") | files_of("pyruntime") | beside
    assert sum(held.values()) < 2_000_000


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(distributions: Distributions) -> None:
    described = {
        f"{NAME}.dist-info/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    }
    with zipfile.ZipFile(distributions.wheel) as archive:
        held = set(archive.namelist())
    (extension,) = (name for name in held if name.endswith(".so"))
    assert re.fullmatch(r"pyruntime/_core\.cpython-3\d\d[\w-]*\.so", extension)
    assert held == files_of("pyruntime") | described | {extension}
    assert {"pyruntime/py.typed", "pyruntime/_core.pyi", "pyruntime/catalogue.json"} <= held


@pytest.mark.slow
def test_the_wheel_is_for_this_python_and_describes_itself(distributions: Distributions) -> None:
    version = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert distributions.wheel.name.startswith(f"{NAME}-{version}-{version}")
    described = metadata(distributions.wheel)
    assert described["Summary"] == PROJECT["description"]
    assert described["License-Expression"] == "MIT"
    assert described["License-File"] == "LICENSE"
    assert described["Requires-Python"] == ">=3.11"
    assert described["Description-Content-Type"] == "text/markdown"
    assert described.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_wheel_has_every_instruction_set_and_the_bits_of_this_build(
    distributions: Distributions, tmp_path: Path
) -> None:
    model = tiny_gguf.write(tmp_path / "tiny.gguf")
    code = "import json; from pyruntime import _core; print(json.dumps(_core.build_info()))"
    info = json.loads(run(distributions.python, "-c", code, cwd=tmp_path))
    assert info["isas"] == _core.build_info()["isas"]
    assert (info["build_type"], info["sanitized"]) == ("Release", False)
    here = subprocess.run([sys.executable, RUN_TINY, model], check=True, capture_output=True, text=True)
    for isa in _core.available_isas():
        there = json.loads(run(distributions.python, RUN_TINY, model, cwd=tmp_path, PYRUNTIME_ISA=isa))
        assert there == json.loads(here.stdout) | {"isa": isa}


@pytest.mark.slow
def test_the_extension_needs_the_systems_libraries_alone(distributions: Distributions, tmp_path: Path) -> None:
    with zipfile.ZipFile(distributions.wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".so"))
        extension = archive.extract(name, tmp_path)
    shown = run("readelf", "--dynamic", "--wide", extension, cwd=tmp_path)
    needed = set(re.findall(r"NEEDED\).*\[([\w+-]+)\.so", shown))
    assert needed <= {"libstdc++", "libgcc_s", "libm", "libc", "libpthread", "ld-linux-x86-64", "ld-linux-aarch64"}
    assert "RUNPATH" not in shown
    assert "RPATH" not in shown


@pytest.mark.slow
def test_a_network_is_out_of_reach_of_the_build(distributions: Distributions, tmp_path: Path) -> None:
    if distributions.network:
        pytest.skip(
            "the system grants this process no network namespace: pip's --no-index alone kept the build offline"
        )
    code = "import socket; socket.create_connection(('127.0.0.1', 9), timeout=5)"
    command = ["unshare", "--net", "--map-root-user", sys.executable, "-c", code]
    done = subprocess.run(command, env=environment(), cwd=tmp_path, capture_output=True, text=True)
    assert "Network is unreachable" in done.stderr
