"""What starting costs, in CPU time: less than anything else on a busy machine does it depend on the neighbours."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_gguf

RUNS = 10  # the best of at most so many: an interrupt, a cold cache or a slow clock only ever adds


def cpu_ms(*argv: str) -> float:
    """User and system time of a Python that runs these arguments."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *argv], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1000


@pytest.mark.parametrize(
    ("code", "budget"),
    [
        ("import numpy, pyruntime", 60),  # ms beyond NumPy; measured: 3
        ("import numpy, pyruntime; pyruntime.Model", 100),  # and what its first use loads; measured: 50
    ],
)
def test_importing(code: str, budget: float) -> None:
    numpy = ours = float("inf")
    for _ in range(RUNS):
        numpy = min(numpy, cpu_ms("-c", "import numpy"))
        ours = min(ours, cpu_ms("-c", code))
        if ours - numpy <= budget:
            return
    pytest.fail(f"{code}: {ours:.0f} ms, NumPy alone {numpy:.0f} ms: more than {budget} ms beyond it")


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["chat", "--help"], ["completion", "bash"]])
def test_the_command_line_answers_at_once(argv: list[str]) -> None:
    assert any(cpu_ms("-m", "pyruntime", *argv) <= 150 for _ in range(RUNS))  # measured: 50


def test_help_loads_neither_numpy_nor_the_core() -> None:
    code = (
        "import contextlib, io, sys; from pyruntime.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()): assert main(['--help']) == 0\n"
        "print(*{'numpy', 'pyruntime._core', 'rich', 'prompt_toolkit', 'huggingface_hub'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.split() == []


@pytest.mark.parametrize(
    "argv", [["chat", "MODEL", "--max-tokens", "1"], ["generate", "MODEL", "hi", "--max-tokens", "1"]]
)
def test_what_a_terminal_needs_is_not_loaded_in_a_pipe(argv: list[str], tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / "model.gguf")
    words = [str(path) if word == "MODEL" else word for word in argv]
    code = (
        f"import sys; from pyruntime.cli import main; assert main({words!r}) == 0\n"
        "print(*{'rich', 'prompt_toolkit', 'asyncio', 'huggingface_hub'} & set(sys.modules), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], input="hello\n", check=True, capture_output=True, text=True)
    assert run.stderr.split() == []
