"""Fixtures of all tests. None of them touches the user's cache, but for the one that needs a real model."""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_hub
import fake_model
import pytest
from cli_tools import Cli
from distributions import Distributions

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


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """The sdist, the wheel and an environment with it. They take minutes: for slow tests."""
    return Distributions(tmp_path_factory.mktemp("distributions"))


@pytest.fixture(autouse=True)
def pyruntime_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PYRUNTIME_HOME for every test, and an empty cache of the Hugging Face hub."""
    home = tmp_path / "pyruntime-home"
    monkeypatch.setenv("PYRUNTIME_HOME", str(home))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_hub.Hub]:
    """A stand-in for the Hugging Face hub, with one repository of two models, and a huggingface_hub that asks it."""
    import huggingface_hub
    from huggingface_hub import constants

    from pyruntime import hub_download

    with fake_hub.serving() as hub:
        files = {"m-Q4_K_M.gguf": fake_hub.DATA, "m-Q8_0.gguf": fake_hub.OTHER, "mmproj-F16.gguf": fake_hub.OTHER}
        hub.repos["owner/repo"] = fake_hub.Repo(files)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)  # for another process; this one has read it already
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr(hub_download, "_WAIT_SECONDS", 0)
        yield hub
        huggingface_hub.close_session()


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
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk of 2 MB that says it has more room than it has, as one does that others write to as well."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    command = [mount or "", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if not mount or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this process may not mount a small disk")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 0, 10**9))
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_text("fake")
    return path


@pytest.fixture
def cli(model_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setitem(sys.modules, "pyruntime.model", fake_model.module())
    return Cli(model_file, capsys, monkeypatch)
