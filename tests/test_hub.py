"""Downloads from the hub into its cache, against the stand-in of fake_hub.py; with any huggingface_hub from 1.0 on."""

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_hub
import huggingface_hub
import pytest
from fake_hub import DATA, HEAD, NAME, OTHER, TOKEN, Hub, Repo, error, sha256
from huggingface_hub import constants

import pyruntime
from pyruntime import catalogue
from pyruntime.errors import FetchError
from pyruntime.hub import cache_folder, repo_folder


class Recorder:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.sizes: list[tuple[int, int]] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, done: int, total: int) -> None:
        self.sizes.append((done, total))


def partials() -> list[Path]:
    return list(cache_folder().rglob("*.incomplete"))


def assert_fails(name: str, *parts: str) -> str:
    with pytest.raises(FetchError) as caught:
        pyruntime.pull(name)
    message = str(caught.value)
    assert message.startswith(f"cannot fetch {name}: ")
    assert message.isprintable()  # one line, and nothing of the hub's that a terminal obeys
    for part in parts:
        assert part in message
    return message


# A download


def test_pull(hub: Hub) -> None:
    report = Recorder()
    path = pyruntime.pull(NAME, report=report)
    assert path.read_bytes() == DATA
    assert path == repo_folder("owner/repo") / "snapshots" / ("c" * 40) / "m-Q4_K_M.gguf"
    assert report.notes == [
        f"fetching m-Q4_K_M.gguf of owner/repo (3 MB, apache-2.0) from {hub.url.removeprefix('http://')}"
    ]
    assert report.sizes[0] == (0, len(DATA))
    assert report.sizes[-1] == (len(DATA), len(DATA))
    assert report.sizes == sorted(report.sizes)
    assert not partials()


def test_nothing_is_asked_or_sent_but_what_it_takes(hub: Hub) -> None:
    pyruntime.pull(NAME)
    commit = "c" * 40
    assert [(request.method, request.path) for request in hub.requests] == [
        ("GET", "/api/models/owner/repo/revision/main"),
        ("GET", f"/owner/repo/resolve/{commit}/m-Q4_K_M.gguf"),
        ("GET", "/cdn/owner/repo/m-Q4_K_M.gguf"),
    ]
    for request in hub.requests:
        assert request.headers["user-agent"] == f"pyruntime/{pyruntime.__version__}"
        assert not {"cookie", "referer", "authorization"} & set(request.headers)


def test_what_the_cache_has_needs_no_network(hub: Hub) -> None:
    path = pyruntime.pull(NAME)
    hub.requests.clear()
    for name in (NAME, "hf:owner/repo", "hf:owner/repo:q4_k_m", "hf:owner/repo/m-Q4_K_M.gguf", "hf:owner/repo@main"):
        assert pyruntime.pull(name) == catalogue.locate(name) == path
    assert not hub.requests


def test_huggingface_hub_is_imported_for_a_download_only(hub: Hub) -> None:
    pyruntime.pull(NAME)
    script = f"import sys, pyruntime; print(pyruntime.pull({NAME!r})); print(*sys.modules)"
    path, modules = subprocess.check_output([sys.executable, "-c", script], text=True).splitlines()
    assert Path(path).read_bytes() == DATA
    assert not {"huggingface_hub", "httpx", "httpx2", "pyruntime.fetch", "numpy"} & set(modules.split())


def test_other_tools_find_it_in_the_cache(hub: Hub) -> None:
    path = pyruntime.pull(NAME)
    cache = cache_folder()
    for revision in (None, "main", "c" * 40):
        found = huggingface_hub.try_to_load_from_cache(
            "owner/repo", "m-Q4_K_M.gguf", cache_dir=cache, revision=revision
        )
        assert found == str(path)
    info = huggingface_hub.scan_cache_dir(cache)
    assert not info.warnings
    (repo,) = info.repos
    assert (repo.repo_id, repo.size_on_disk, repo.nb_files) == ("owner/repo", len(DATA), 1)


def test_what_other_tools_put_there_is_found(hub: Hub) -> None:
    theirs = huggingface_hub.hf_hub_download("owner/repo", "m-Q4_K_M.gguf", cache_dir=cache_folder(), token=False)
    hub.requests.clear()
    assert pyruntime.pull(NAME) == Path(theirs)
    assert not hub.requests
    assert pyruntime.pull(NAME, check=True) == Path(theirs)
    assert not hub.downloads()


def test_split_files(hub: Hub) -> None:
    pieces = {f"Q6_K/m-Q6_K-0000{i}-of-00003.gguf": DATA[i * 1000 : i * 2000] for i in (1, 2, 3)}
    hub.repos["owner/repo"].files |= pieces
    report = Recorder()
    paths = [file.path for file in catalogue.pull_files("hf:owner/repo:Q6_K", report=report)]
    assert [path.read_bytes() for path in paths] == list(pieces.values())
    assert {path.parent for path in paths} == {paths[0].parent}  # where the reader looks for the others
    assert report.sizes[-1] == (6000, 6000)
    assert report.sizes == sorted(report.sizes)
    paths[1].resolve().unlink()  # one part is missing: the model is not there, and only that part is fetched
    hub.requests.clear()
    assert [file.path for file in catalogue.pull_files("hf:owner/repo:Q6_K")] == paths
    assert [request.path for request in hub.downloads()] == ["/cdn/owner/repo/Q6_K/m-Q6_K-00002-of-00003.gguf"]


def test_small_file_without_lfs(hub: Hub) -> None:
    repo = hub.repos["owner/small"] = Repo({"a b/m.gguf": OTHER}, small={"a b/m.gguf"})
    path = pyruntime.pull("hf:owner/small/a b/m.gguf")
    assert path.read_bytes() == OTHER
    assert path.resolve().name == repo.etag("a b/m.gguf")
    hub.repos["owner/small"].files["a b/m.gguf"] = HEAD
    shutil.rmtree(cache_folder())
    hub.bodies = [OTHER[: len(HEAD)]]
    assert OTHER[: len(HEAD)] == HEAD
    assert pyruntime.pull("hf:owner/small").read_bytes() == HEAD


def test_revisions(hub: Hub) -> None:
    path = pyruntime.pull("hf:owner/repo@v1:Q8_0")
    assert (repo_folder("owner/repo") / "refs" / "v1").read_text() == "c" * 40
    assert pyruntime.pull(f"hf:owner/repo@{'c' * 40}:Q8_0") == path
    assert pyruntime.pull(f"hf:owner/repo@{'c' * 7}:Q8_0") == path
    assert_fails("hf:owner/repo@v2", "the repository has no revision v2")


def test_new_version(hub: Hub) -> None:
    old = pyruntime.pull(NAME)
    q8 = pyruntime.pull("hf:owner/repo:Q8_0")
    hub.repos["owner/repo"] = Repo({"m-Q4_K_M.gguf": OTHER}, commit="d" * 40)
    assert pyruntime.pull(NAME) == old  # not asked for
    new = pyruntime.pull(NAME, check=True)
    assert new.read_bytes() == OTHER
    assert pyruntime.pull(NAME) == new
    assert old.read_bytes() == DATA
    assert pyruntime.pull("hf:owner/repo:Q8_0") == q8  # of the old commit: there, so no network is asked
    assert pyruntime.pull(f"hf:owner/repo@{'c' * 40}:Q4_K_M") == old


def test_new_commit_with_the_same_file_fetches_nothing(hub: Hub) -> None:
    old = pyruntime.pull(NAME)
    hub.repos["owner/repo"].commit = "d" * 40
    hub.requests.clear()
    new = pyruntime.pull(NAME, check=True)
    assert new != old
    assert new.samefile(old)
    assert not hub.downloads()


# The token


def test_token_goes_to_the_hub_alone(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.repos["owner/repo"].access = "gated"
    assert pyruntime.pull(NAME).read_bytes() == DATA
    for request in hub.requests:
        sent = request.headers.get("authorization")
        assert sent == (None if request.path.startswith("/cdn/") else f"Bearer {TOKEN}")
    assert {request.host.partition(":")[0] for request in hub.downloads()} == {"localhost"}  # the redirect was followed


def test_implicit_token_can_be_disabled(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    pyruntime.pull(NAME)
    assert not any("authorization" in request.headers for request in hub.requests)


def test_gated(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repos["owner/repo"].access = "gated"
    assert_fails(NAME, f"accept the conditions at {hub.url}/owner/repo with your account, and set HF_TOKEN")
    monkeypatch.setenv("HF_TOKEN", "hf_of-another")
    assert "hf_of-another" not in assert_fails(NAME, "with the account of your token")


def test_private(hub: Hub) -> None:
    hub.repos["owner/repo"].access = "private"
    assert_fails(NAME, "has no such repository, or it is private: a private one needs HF_TOKEN")


# What goes wrong


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (error(429), "too many requests: try again in some minutes"),
        (error(503), "answers with status 503: try again later"),
        (error(403), "refuses it: check the rights of HF_TOKEN"),
        (error(401), "no such repository, or it is private"),
        (error(404), "no such repository, or it is private"),
        (error(418), "answers with status 418"),
        ((200, {}, b"<html>"), "does not answer as the Hugging Face hub does: check HF_ENDPOINT"),
        ((200, {}, b"[]"), "does not answer as the Hugging Face hub does"),
        ((200, {}, b'{"sha": "../..", "siblings": []}'), "does not answer as"),
        ((200, {}, b'{"sha": "' + b"c" * 40 + b'", "siblings": [{"rfilename": 1}]}'), "does not answer as"),
        ((200, {}, b'{"sha": "' + b"c" * 40 + b'", "siblings": [{"rfilename": "m.gguf"}]}'), "does not answer as"),
        ((302, {"Location": "/api/models/owner/repo/revision/main?blobs=true"}, b""), ""),
    ],
)
def test_bad_answers(hub: Hub, capfd: pytest.CaptureFixture[str], answer: fake_hub.Response, reason: str) -> None:
    hub.answers = [answer] * (1 if reason else 100)
    assert_fails(NAME, reason or "no connection")
    assert capfd.readouterr() == ("", "")  # no warning of the library or the hub
    assert not list(cache_folder().rglob("*.gguf"))


def test_hostile_paths_are_not_followed(hub: Hub) -> None:
    files = {path: DATA for path in ("../../../up.gguf", "/root.gguf", "a/../../b.gguf", "\x1b[2J.gguf", "a\\b.gguf")}
    hub.repos["owner/repo"] = Repo(files)
    assert_fails("hf:owner/repo", "it has none")
    assert not hub.downloads()


@pytest.mark.parametrize("sibling", [{"size": -1}, {"size": True}, {"sha256": "../" * 20}, {"sha256": "C" * 64}])
def test_hostile_numbers(hub: Hub, monkeypatch: pytest.MonkeyPatch, sibling: dict[str, Any]) -> None:
    good = hub.info

    def info(name: str, repo: Repo) -> dict[str, Any]:
        answer = good(name, repo)
        answer["siblings"][0]["lfs"] |= sibling
        return answer

    monkeypatch.setattr(hub, "info", info)
    assert_fails(NAME, "does not answer as the Hugging Face hub does")


def test_no_such_file(hub: Hub) -> None:
    assert_fails("hf:owner/repo:Q5_0", "the repository has no such GGUF model; it has :Q4_K_M, :Q8_0")
    assert_fails("hf:owner/repo/x.gguf", "it has :Q4_K_M, :Q8_0")
    assert_fails("hf:owner/nothing", "no such repository")


def test_no_connection(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pyruntime.pull("hf:owner/repo:Q8_0")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    assert_fails(NAME, "no connection to 127.0.0.1:1", "check the network")
    report = Recorder()
    assert pyruntime.pull("hf:owner/repo:Q8_0", check=True, report=report) == path
    assert len(report.notes) == 1
    assert report.notes[0].endswith("; what the cache has is used, and was not checked")


def test_offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pyruntime.pull("hf:owner/repo:Q8_0")
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert_fails(NAME, "HF_HUB_OFFLINE is set, and the cache does not have it")
    assert pyruntime.pull("hf:owner/repo:Q8_0", check=True) == path
    assert not hub.requests


# Interrupted, damaged, resumed


def test_broken_connections_are_made_again(hub: Hub) -> None:
    hub.cuts = [1_000_000, 0, 500_000]
    report = Recorder()
    assert pyruntime.pull(NAME, report=report).read_bytes() == DATA
    starts = [request.start for request in hub.downloads()]
    assert len(starts) == 4
    assert starts == sorted(starts)
    assert 0 < starts[1] <= 1_000_000
    assert starts[2] == starts[1]
    assert report.sizes == sorted(report.sizes)


def test_a_connection_that_always_breaks(hub: Hub) -> None:
    hub.cuts = [1_000_000] + [0] * 100
    assert_fails(NAME, "no connection to", "the same command goes on from there")
    assert len(hub.downloads()) == 1 + 5
    (partial,) = partials()
    there = partial.stat().st_size
    assert there > 0
    hub.cuts.clear()
    hub.requests.clear()
    report = Recorder()
    assert pyruntime.pull(NAME, report=report).read_bytes() == DATA
    assert [request.start for request in hub.downloads()] == [there]
    assert report.sizes[0] == (there, len(DATA))
    assert "(3 MB, apache-2.0, 1 MB of it are there)" in report.notes[0]
    assert not partials()


def test_server_errors_in_between_are_tried_again(hub: Hub) -> None:
    listing = json.dumps(hub.info("owner/repo", hub.repos["owner/repo"])).encode()
    hub.answers = [(200, {}, listing), error(502), error(500)]
    assert pyruntime.pull(NAME).read_bytes() == DATA


def test_server_without_ranges_begins_anew(hub: Hub) -> None:
    hub.ranges = False
    hub.cuts = [1_000_000]
    assert pyruntime.pull(NAME).read_bytes() == DATA


def test_server_that_says_no_length(hub: Hub) -> None:
    hub.lengths = False
    hub.cuts = [1_000_000]
    assert pyruntime.pull(NAME).read_bytes() == DATA
    assert len(hub.downloads()) == 2
    shutil.rmtree(cache_folder())
    hub.cuts = [0] * 100
    assert_fails(NAME, "the connection ends before the file does: the same command goes on from there")


def test_another_range_than_asked_for(hub: Hub) -> None:
    hub.cuts = [1_000_000]
    hub.content_range = "bytes 7-9/10"
    assert_fails(NAME, "the server sent another part of the file, 'bytes 7-9/10'")
    hub.content_range = ""
    assert pyruntime.pull(NAME).read_bytes() == DATA


@pytest.mark.parametrize("body", [DATA[:-1] + b"!", bytes(len(DATA))], ids=["one byte", "zeros"])
def test_wrong_bytes(hub: Hub, body: bytes) -> None:
    hub.bodies = [body]
    assert_fails(NAME, "m-Q4_K_M.gguf came with the wrong checksum and was removed: try again")
    assert not partials()
    assert not list((repo_folder("owner/repo") / "snapshots").rglob("*.gguf"))
    assert pyruntime.pull(NAME).read_bytes() == DATA


def test_longer_than_the_hub_said(hub: Hub) -> None:
    hub.bodies = [DATA + b"!"]
    assert_fails(NAME, "m-Q4_K_M.gguf is longer than the hub said and was removed: try again")
    assert not partials()


def partial_file() -> Path:
    blobs = repo_folder("owner/repo") / "blobs"
    blobs.mkdir(parents=True)
    return blobs / f"{sha256(DATA)}.pyruntime.incomplete"


@pytest.mark.parametrize("there", [b"", DATA[:1], DATA[:-1], DATA, DATA + b"more"], ids=len)
def test_any_beginning_is_completed(hub: Hub, there: bytes) -> None:
    partial_file().write_bytes(there)
    assert pyruntime.pull(NAME).read_bytes() == DATA
    assert not partials()


def test_damaged_beginning(hub: Hub) -> None:
    partial_file().write_bytes(b"?" * 1000)
    assert_fails(NAME, "wrong checksum")
    assert pyruntime.pull(NAME).read_bytes() == DATA


def test_damaged_file_in_the_cache(hub: Hub) -> None:
    path = pyruntime.pull(NAME)
    path.resolve().write_bytes(DATA[:-1] + b"!")
    report = Recorder()
    assert pyruntime.pull(NAME, check=True, report=report).read_bytes() == DATA
    assert "m-Q4_K_M.gguf in the cache is damaged: it is fetched again" in report.notes


def test_another_process_is_waited_for(hub: Hub) -> None:
    partial = partial_file()
    blob = partial.with_name(sha256(DATA))
    waits = threading.Event()

    class Report(Recorder):
        def note(self, text: str) -> None:
            super().note(text)
            if "waiting" in text:
                waits.set()

    report = Report()
    results: list[Path] = []
    with partial.open("a+b") as file:  # the other process
        fcntl.flock(file, fcntl.LOCK_EX)
        thread = threading.Thread(target=lambda: results.append(pyruntime.pull(NAME, report=report)))
        thread.start()
        assert waits.wait(60)
        file.write(DATA)
        file.flush()
        os.replace(partial, blob)
    thread.join(60)
    assert results[0].read_bytes() == DATA
    assert report.notes[-1] == "another process is fetching m-Q4_K_M.gguf: waiting for it"
    assert not hub.downloads()
    assert not partials()


# The disk


def test_no_room(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 2_000_000))
    assert_fails(NAME, "3 MB more are needed, and the disk of", "has 2 MB free")
    assert not hub.downloads()


def test_disk_full(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    old = pyruntime.pull(NAME)
    hub.repos["owner/repo"] = Repo({"m-Q4_K_M.gguf": OTHER}, commit="d" * 40)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(FetchError, match="No space left on device: set HF_HOME to another folder"):
            pyruntime.pull(NAME, check=True)
    assert not partials()
    assert pyruntime.pull(NAME) == old
    assert old.read_bytes() == DATA


def test_a_disk_that_is_really_full(hub: Hub, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(small_disk))
    old = pyruntime.pull("hf:owner/repo:Q8_0")
    assert_fails(NAME, "No space left on device: set HF_HOME to another folder")
    assert not partials()  # what came of it is given back
    assert old.read_bytes() == OTHER
    disk = os.statvfs(small_disk)
    assert disk.f_bavail * disk.f_frsize > 1_500_000


def test_read_only_cache(hub: Hub, tmp_path: Path, unprivileged: None) -> None:
    (tmp_path / "hf-home").mkdir(0o555)
    assert_fails(NAME, "Permission denied: set HF_HOME to another folder")


def test_a_disk_without_links(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def symlink(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "symlink", symlink)
    path = pyruntime.pull(NAME)
    assert path.read_bytes() == DATA
    assert not path.is_symlink()
    hub.requests.clear()
    assert pyruntime.pull(NAME, check=True) == path
    assert not hub.downloads()


@pytest.mark.parametrize("call", [huggingface_hub.hf_hub_download, pyruntime.pull], ids=["library", "pyruntime"])
def test_the_stand_in_is_asked(hub: Hub, call: Callable[..., Any]) -> None:
    """So that a test above that finds no request proves something."""
    if call is pyruntime.pull:
        call(NAME)
    else:
        call("owner/repo", "m-Q4_K_M.gguf", cache_dir=cache_folder(), token=False)
    assert hub.downloads()
