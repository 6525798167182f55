"""What the README shows is what comes out: the contract gives the same words on every machine. Its commands and examples are run
as they stand, by this environment, and (slow) by one that holds the wheel and nothing of the checkout or the tests."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from distributions import Distributions, environment

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"<!-- python -->\n```python\n(.*?)```\n\n<!-- output -->\n```\n(.*?)```", README, re.DOTALL)
TRANSCRIPT = re.search(r"<!-- transcript: .*? -->\n```\n(.*?)```", README, re.DOTALL)
INSPECTED = re.search(r"<!-- inspect -->\n```\n\$ (.*?)\n(.*?)```", README, re.DOTALL)
LINES = re.findall(r"^    (\S.*)$", re.sub(r"```.*?```", "", README, flags=re.DOTALL), re.MULTILINE)
TESTS = "pip install '.[test]' && pytest"  # what runs this
COMMANDS = [
    line.removeprefix("pip install . && ").partition("  #")[0].rstrip()
    for line in LINES
    if line != TESTS
    and "hf:" not in line  # the hub is beyond the network of a test: tests/test_hub.py has one of its own
]
TEXT = "Paris is the capital of France. What is the capital of Italy?\n"


@dataclass(frozen=True)
class User:
    """Types what the README shows, in a folder of their own, with `python` and `pyruntime` out of `programs`."""

    folder: Path
    programs: Path
    variables: dict[str, str]

    def types(self, line: str, stdin: str = "") -> str:
        """What comes out, if nothing went wrong or was complained of."""
        env = self.variables | {"PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}"}
        command = ["sh", "-c", line]
        done = subprocess.run(
            command, cwd=self.folder, env=env, input=stdin, capture_output=True, text=True, timeout=600
        )
        assert (done.returncode, done.stderr) == (0, ""), line
        return done.stdout


@pytest.fixture(scope="session")
def programs_here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`python` and `pyruntime` of this environment: it need not have them in its PATH, nor have pyruntime installed."""
    folder = tmp_path_factory.mktemp("programs")
    for name, arguments in {"python": "", "pyruntime": "-m pyruntime"}.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P {arguments} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def folder(tmp_path: Path, model_path: Path) -> Path:
    """A model of the user's own, two texts, and a cache that holds the default model."""
    (tmp_path / "my-model.gguf").symlink_to(model_path)
    for name in ("question.txt", "paper.txt"):
        (tmp_path / name).write_text(TEXT)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "models").symlink_to(model_path.parent)
    return tmp_path


@pytest.fixture
def here(folder: Path, programs_here: Path) -> User:
    return User(folder, programs_here, os.environ | {"PYRUNTIME_HOME": str(folder / "home")})


@pytest.fixture(params=["here", pytest.param("wheel", marks=pytest.mark.slow)])
def user(request: pytest.FixtureRequest, folder: Path, here: User) -> User:
    if request.param == "here":
        return here
    distributions: Distributions = request.getfixturevalue("distributions")
    return User(folder, distributions.python.parent, environment(PYRUNTIME_HOME=str(folder / "home")))


def test_the_readme_has_examples() -> None:
    assert len(EXAMPLES) == README.count("```python\n") >= 3
    assert TRANSCRIPT is not None
    assert INSPECTED is not None
    assert TESTS in LINES
    assert len(COMMANDS) >= 4
    assert all(re.match(r"(cat \w+\.txt \| )?pyruntime |cp ", line) for line in COMMANDS)


@pytest.mark.model
@pytest.mark.parametrize("line", COMMANDS)
def test_commands(line: str, user: User, here: User) -> None:
    if line.startswith("cp "):
        (user.folder / "my-model.gguf").unlink()
    out = user.types(line)
    if "--json" in line:
        shown = json.loads(out)
        again = json.loads(here.types(f"{line} --seed {shown['seed']}"))
        assert shown["text"]
        assert (shown["text"], shown["ids"]) == (again["text"], again["ids"])
    elif line.startswith("cp "):
        assert (user.folder / "my-model.gguf").stat().st_size > 90_000_000
    elif " chat" in line:
        assert out == ""  # nobody says anything
    else:
        assert out.strip()
        if " generate " not in line or "--temperature 0" in line:  # else it is drawn, by a seed that is not shown
            assert out == here.types(line)


@pytest.mark.model
@pytest.mark.parametrize(("source", "expected"), EXAMPLES, ids=map(str, range(len(EXAMPLES))))
def test_python_examples(source: str, expected: str, user: User) -> None:
    (user.folder / "example.py").write_text(source)
    assert user.types("python example.py") == expected


@pytest.mark.model
def test_chat_transcript(user: User) -> None:
    assert TRANSCRIPT is not None
    command, *lines = TRANSCRIPT.group(1).splitlines()
    lines = lines[2:]  # after the greeting, which names the machine's threads and instruction set
    turns = [line.removeprefix("> ") for line in lines if line.startswith("> ")]
    answers = [line for line in lines if not line.startswith("> ")]
    assert "--seed" in command
    assert user.types(command.removeprefix("$ "), "\n".join(turns) + "\n").splitlines() == answers


@pytest.mark.model
def test_inspect(user: User) -> None:
    """All but the sizes that depend on the machine, and the metadata, which the README leaves out."""
    assert INSPECTED is not None
    command, shown = INSPECTED.groups()
    assert _without_memory(user.types(command).partition("\n\n")[0]) == _without_memory(shown.rstrip())


def _without_memory(text: str) -> str:
    return re.sub(r"(Python |activations |leaves |^memory +)\d[\d.]* [MG]B", r"\1", text, flags=re.MULTILINE)
