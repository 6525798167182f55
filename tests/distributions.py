"""What installers get: the sdist of this checkout, the wheel that it builds without a network, and environments of them."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parent.parent
_BUILD_SYSTEM = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]
_NO_NETWORK = ["unshare", "--net", "--map-root-user"]  # a namespace whose only interface is a loopback that is down


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without what would let another Python see the checkout or this one's packages, or what is
    said of this machine's processor."""
    ours = ("PYTHONPATH", "PYRUNTIME_ISA", "VIRTUAL_ENV", "OPENBLAS_CORETYPE")
    return {name: value for name, value in os.environ.items() if name not in ours} | changes


def run(*command: str | Path, cwd: Path, **changes: str) -> str:
    """Its stdout. AssertionError with all that it wrote if it fails."""
    done = subprocess.run(command, cwd=cwd, env=environment(**changes), capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def empty_environment(folder: Path, *requirements: str | Path) -> Path:
    """The Python of a new virtual environment in `folder`, with these requirements and what they ask for."""
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    if requirements:
        run(python, "-m", "pip", "install", "--quiet", *requirements, cwd=folder)
    return python


class Distributions:
    """Built when they are first asked for, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def _builder(self) -> Path:
        """The Python of an environment with the requirements of the build."""
        python = empty_environment(self._folder / "builder", *_BUILD_SYSTEM["requires"])
        if more := self._hook(python, "get_requires_for_build_wheel", ROOT).splitlines():  # CMake and Ninja
            run(python, "-m", "pip", "install", "--quiet", *more, cwd=self._folder)
        return python

    def _hook(self, python: Path, name: str, source: Path, *arguments: str | Path) -> str:
        """What a hook of the build backend (PEP 517) returns: a name, or requirements a line each."""
        code = (
            f"import sys, {_BUILD_SYSTEM['build-backend']} as backend\n"
            f"result = backend.{name}(*sys.argv[1:])\n"
            "print('\\n', *([result] if isinstance(result, str) else result), sep='\\n')"
        )
        return run(python, "-c", code, *arguments, cwd=source).rpartition("\n\n")[2].strip()

    @cached_property
    def sdist(self) -> Path:
        return self._folder / self._hook(self._builder, "build_sdist", ROOT, self._folder)

    @cached_property
    def network(self) -> bool:
        """Whether the wheel's build could have reached one: where there are no namespaces, pip alone is told to stay away."""
        return subprocess.run([*_NO_NETWORK, "true"], capture_output=True).returncode != 0

    @cached_property
    def wheel(self) -> Path:
        source, wheels = self._folder / "source", self._folder / "wheels"
        source.mkdir()
        run("tar", "--extract", "--strip-components=1", "--file", self.sdist, cwd=source)
        pip = [self._builder, "-m", "pip", "wheel", "--no-build-isolation", "--no-index", "--no-deps"]
        run(*([] if self.network else _NO_NETWORK), *pip, "--wheel-dir", wheels, ".", cwd=source)
        (wheel,) = wheels.iterdir()
        return wheel

    @cached_property
    def python(self) -> Path:
        """The Python of an environment with the wheel and what it requires, and nothing else."""
        return empty_environment(self._folder / "installed", self.wheel)
