"""The wheel on processors of other years, emulated: it takes what they have, and gives the same bits."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_gguf
from distributions import Distributions, environment, run

RUN_TINY = Path(__file__).parent / "run_tiny.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the wheel of this machine is not for x86-64"),
    pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="needs qemu-x86_64 (Debian: qemu-user)"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="module")
def expected(model: Path) -> dict[str, object]:
    """What comes out on this machine, by its best instruction set."""
    done = subprocess.run([sys.executable, RUN_TINY, model], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def numpy_of_old(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the last NumPy whose wheels are for every x86-64."""
    folder = tmp_path_factory.mktemp("numpy")
    run(distributions.python, "-m", "pip", "install", "-q", "--target", folder, "numpy<2.4", cwd=folder)
    return folder


def tiny_on(cpu: str, python: Path, model: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["qemu-x86_64", "-cpu", cpu, python, RUN_TINY, model]
    return subprocess.run(command, env=environment(**variables), capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize(("cpu", "isa"), [("Nehalem", "scalar"), ("SandyBridge", "scalar"), ("Haswell", "avx2")])
def test_a_cpu_takes_what_it_has(
    cpu: str, isa: str, distributions: Distributions, model: Path, expected: dict[str, object]
) -> None:
    done = tiny_on(cpu, distributions.python, model)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected | {"isa": isa}


def test_the_first_x86_64(
    distributions: Distributions, numpy_of_old: Path, model: Path, expected: dict[str, object]
) -> None:
    done = tiny_on("qemu64", distributions.python, model, PYTHONPATH=str(numpy_of_old))  # SSE3
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected | {"isa": "scalar"}


def test_what_a_cpu_lacks_is_refused_not_tried(distributions: Distributions, model: Path) -> None:
    done = tiny_on("Nehalem", distributions.python, model, PYRUNTIME_ISA="avx2")
    assert done.returncode == 1
    assert "UnsupportedError: PYRUNTIME_ISA: this CPU or its OS lacks what avx2 needs" in done.stderr
