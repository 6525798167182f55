"""Fixtures of all tests. None of them touches the user's cache, but for the one that needs a real model."""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_model
import pytest
from cli_tools import Cli

from pyruntime.catalogue import DEFAULT, find, models_folder
from pyruntime.errors import FetchError
from pyruntime.fetch import fetch

# Python that a test starts finds pyruntime where it is installed, not in the checkout that it may be started in, and
# the helpers of this folder.
os.environ["PYTHONSAFEPATH"] = "1"
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))

_USERS_MODELS = models_folder()  # before any test points PYRUNTIME_HOME elsewhere


@pytest.fixture(scope="session")
def real_model() -> Callable[[str], Path]:
    """A model's file by its name in the catalogue, in the user's own cache, fetched if it is not there. Goes with
    `@pytest.mark.model`."""

    def path(name: str) -> Path:
        entry = find(name)
        assert entry is not None
        try:
            return fetch(entry, _USERS_MODELS)
        except FetchError as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))

    return path


@pytest.fixture(scope="session")
def model_path(real_model: Callable[[str], Path]) -> Path:
    """The default model's file."""
    return real_model(DEFAULT)


@pytest.fixture(autouse=True)
def pyruntime_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PYRUNTIME_HOME for every test."""
    home = tmp_path / "pyruntime-home"
    monkeypatch.setenv("PYRUNTIME_HOME", str(home))
    return home


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Without root's right to read and write everything: what a test forbids is forbidden."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)  # capabilities(7); Python has no call for them
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this thread
    held = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: of capabilities 0 to 31, then of the rest
    assert libc.capget(header, held) == 0
    fewer = (ctypes.c_uint32 * 6)(*held)
    fewer[0] &= ~(1 << 1 | 1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, fewer) == 0
    try:
        yield
    finally:
        assert libc.capset(header, held) == 0


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_text("fake")
    return path


@pytest.fixture
def cli(model_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setitem(sys.modules, "pyruntime.model", fake_model.module())
    return Cli(model_file, capsys, monkeypatch)
