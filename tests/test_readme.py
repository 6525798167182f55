"""What the README shows is what comes out: the contract gives the same words on every machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"<!-- python -->\n```python\n(.*?)```\n\n<!-- output -->\n```\n(.*?)```", README, re.DOTALL)
SEED = "5"
TRANSCRIPT = re.search(r"<!-- transcript: .*? -->\n```\n(.*?)```", README, re.DOTALL)


def test_the_readme_has_examples() -> None:
    assert len(EXAMPLES) == 3
    assert TRANSCRIPT is not None
    assert f"$ pyruntime chat --seed {SEED}\n" in TRANSCRIPT.group(1)


@pytest.mark.model
@pytest.mark.parametrize(("source", "expected"), EXAMPLES, ids=["ten_lines", "session", "inside"])
def test_python_examples(source: str, expected: str, model_path: Path, tmp_path: Path) -> None:
    script = source.replace('"my-model.gguf"', repr(str(model_path)))
    run = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert run.stderr == ""
    assert run.stdout == expected


@pytest.mark.model
def test_chat_transcript(model_path: Path) -> None:
    assert TRANSCRIPT is not None
    lines = TRANSCRIPT.group(1).splitlines()[3:]  # after the command and the two lines of greeting
    turns = [line.removeprefix("> ") for line in lines if line.startswith("> ")]
    answers = [line for line in lines if not line.startswith("> ")]
    command = [sys.executable, "-P", "-m", "pyruntime", "chat", str(model_path), "--seed", SEED]
    run = subprocess.run(command, input="\n".join(turns) + "\n", capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == answers


@pytest.mark.model
def test_inspect(model_path: Path, tmp_path: Path) -> None:
    """All but the sizes that depend on the machine, and the metadata, which the README leaves out."""
    shown = re.search(r"<!-- inspect -->\n```\n\$ pyruntime inspect my-model.gguf\n(.*?)```", README, re.DOTALL)
    assert shown is not None
    (tmp_path / "my-model.gguf").symlink_to(model_path)
    command = [sys.executable, "-P", "-m", "pyruntime", "inspect", "my-model.gguf"]
    out = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, cwd=tmp_path).stdout
    assert _without_memory(out.partition("\n\n")[0]) == _without_memory(shown.group(1).rstrip())


def _without_memory(text: str) -> str:
    return re.sub(r"(Python |activations |leaves |^memory +)\d[\d.]* [MG]B", r"\1", text, flags=re.MULTILINE)
