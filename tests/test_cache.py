"""`pyruntime models`, `pull` and `rm`: what the cache has, how it gets there, and how it goes."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import terminal_command
from cli_tools import TIMEOUT, Cli, Terminal, assert_one_line_error, running
from fake_hub import DATA, HEAD, NAME, OTHER, Hub, Repo, sha256
from terminal_screen import ScreenTerminal, ctrl

import pyruntime
from pyruntime import cache, catalogue, fetch, hub_download
from pyruntime.catalogue import Entry, Part, models_folder
from pyruntime.errors import FetchError
from pyruntime.hub import cache_folder, repo_folder

ENTRY = Entry(
    "tiny", ("t",), "a test", "MIT", "llama", 1, "tiny.gguf", len(OTHER), sha256(OTHER), (Part("p", "1", "m", 9),)
)
MORE = Entry("more", (), "another", "MIT", "qwen2", 1, "more.gguf", 5, sha256(b"12345"), (Part("q", "1", "m", 9),))


@pytest.fixture(autouse=True)
def entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "entries", lambda: (ENTRY, MORE))


def put(path: Path, data: bytes = OTHER) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def tiny() -> Path:
    """The catalogue's model, in the cache."""
    return put(models_folder() / ENTRY.file)


def put_on_hub(
    path: str, data: bytes, repo: str = "owner/repo", commit: str = "c" * 40, ref: str | None = "main"
) -> Path:
    """A file in the hub's cache, as its library puts it there."""
    folder = repo_folder(repo)
    blob = put(folder / "blobs" / sha256(data), data)
    link = folder / "snapshots" / commit / path
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    if ref:
        put(folder / "refs" / ref, commit.encode())
    return link


def names() -> list[str]:
    return [model.name for model in cache.models()]


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


# models


def test_nothing_in_the_cache(cli: Cli) -> None:
    done = cli("models")
    assert done.code == 0
    assert done.out.splitlines() == [
        "In the cache:",
        "  nothing",
        "To be had with `pyruntime pull NAME`:",
        "  tiny  0.0 MB  llama  MIT  a test",
        "  more  0.0 MB  qwen2  MIT  another",
    ]
    assert done.err == ""
    assert not models_folder().exists()  # looking makes nothing
    assert not cache_folder().exists()


def test_models(cli: Cli) -> None:
    path = tiny()
    os.utime(path, (1_700_000_000, 1_600_000_000))
    linked = put_on_hub("m-Q4_K_M.gguf", DATA)
    own = put(models_folder() / "own.gguf", b"no model")
    done = cli("models", "--json")
    assert (done.code, done.err) == (0, "")
    listed = json.loads(done.out)
    assert list(listed) == ["cache", "available", "leftovers", "folders"]
    assert [(model["name"], model["bytes"], model["architecture"]) for model in listed["cache"]] == [
        ("tiny", len(OTHER), "llama"),
        (NAME, len(DATA), "llama"),
        (str(own), 8, None),
    ]
    assert listed["cache"][0]["last_used"] == datetime.fromtimestamp(1_700_000_000, UTC).isoformat()
    assert [model["path"] for model in listed["cache"]] == [str(path), str(linked), str(own)]
    assert [entry["name"] for entry in listed["available"]] == ["more"]
    assert listed["available"][0]["download_bytes"] == 9
    assert listed["folders"] == [str(models_folder()), str(cache_folder())]
    lines = cli("models").out.splitlines()
    assert lines[1].split()[:4] == ["tiny", "0.0", "MB", "llama"]
    assert lines[1].endswith(f"used 2023-11-14  {path}")
    assert lines[2].startswith(f"  {NAME}  ")


def test_the_names_alone_are_what_rm_takes(cli: Cli) -> None:
    assert cli("models", "--names") == (0, "", "")
    tiny()
    put(models_folder() / "own.gguf", b"no model")
    put_on_hub("m-Q4_K_M.gguf", DATA)
    put_on_hub("\x1b[31m.gguf", OTHER)
    listed = cli("models", "--names").out
    assert listed == f"tiny\n{NAME}\n"
    assert cli("rm", *listed.splitlines()).code == 0
    assert cli("models", "--names").out == ""
    assert_one_line_error(cli("models", "--names", "--json"), 2, "--json", "--names")


def test_every_name_that_is_listed_finds_its_file() -> None:
    tiny()
    put(models_folder() / "own.gguf", DATA)
    for commit, ref in (("c" * 40, None), ("d" * 40, "main"), ("e" * 40, "v1")):
        for i, path in enumerate(("a/m-Q4_K_M.gguf", "b/m-Q4_K_M.gguf", "m-Q8_0.gguf", "odd.gguf", "mmproj.gguf")):
            put_on_hub(path, HEAD + f"{commit}{i}".encode(), commit=commit, ref=ref)
    for i in (1, 2):
        put_on_hub(f"s-Q6_K-0000{i}-of-00002.gguf", HEAD + bytes([i]), repo="another/repo")
    models = cache.models()
    assert len(models) == len({model.name for model in models}) == 1 + 12 + 1 + 1
    for model in models:
        assert catalogue.locate(model.name) == model.path
    assert [model.name for model in models[:3]] == ["tiny", "hf:another/repo:Q6_K", "hf:owner/repo/a/m-Q4_K_M.gguf"]
    assert len(models[1].files) == 2


def test_the_same_file_of_two_commits_is_one_model() -> None:
    put_on_hub("m.gguf", DATA, commit="c" * 40)
    put_on_hub("m.gguf", DATA, commit="d" * 40)
    assert names() == ["hf:owner/repo/m.gguf"]


def test_what_other_programs_keep_in_the_cache_is_not_listed() -> None:
    put_on_hub("config.json", b"{}")
    put_on_hub("model.safetensors", DATA)
    put(cache_folder() / "datasets--a--b" / "snapshots" / ("c" * 40) / "m.gguf")
    put(cache_folder() / "models--a--b--c" / "snapshots" / ("c" * 40) / "m.gguf")
    (repo_folder("owner/repo") / "snapshots" / ("c" * 40) / "dangling.gguf").symlink_to("nowhere")
    put(repo_folder("owner/repo") / "refs" / "bad", b"../../..")
    assert names() == []


def test_names_of_files_do_not_reach_the_terminal(cli: Cli) -> None:
    put(models_folder() / "\x1b[2Jown\n.gguf")
    put_on_hub("\x1b[31mm.gguf", DATA)
    out = cli("models").out
    assert "\x1b" not in out
    assert "\\x1b[2Jown\\n.gguf" in out
    assert len(out.splitlines()) == 1 + 2 + 1 + 2


@pytest.mark.parametrize("head", [b"", b"GGUF", HEAD[:-1], HEAD[:-10], b"GGML" + HEAD[4:], HEAD[:-13] + b"\xff" * 13])
def test_files_that_are_no_models_are_listed(head: bytes) -> None:
    put(models_folder() / "own.gguf", head)
    (model,) = cache.models()
    assert model.architecture is None or model.architecture.isprintable()


def test_models_is_quick_and_asks_nobody(hub: Hub) -> None:
    put_on_hub("m-Q4_K_M.gguf", DATA)
    script = "import sys; from pyruntime.cli import main; main(['models']); print(*sys.modules)"
    modules = set(subprocess.check_output([sys.executable, "-c", script], text=True, timeout=TIMEOUT).split())
    assert not {"huggingface_hub", "numpy", "pyruntime._core", "pyruntime.model", "rich", "socket"} & modules
    assert not hub.requests


# pull


def test_pull_prints_the_path(cli: Cli, hub: Hub) -> None:
    done = cli("pull", NAME)
    assert done.code == 0
    assert Path(done.out.removesuffix("\n")).read_bytes() == DATA
    assert done.err.count("\n") == 1
    assert done.err.startswith("fetching m-Q4_K_M.gguf of owner/repo (3 MB, apache-2.0) from 127.0.0.1:")


def test_pull_json(cli: Cli, hub: Hub) -> None:
    pieces = {f"m-Q6_K-0000{i}-of-00002.gguf": bytes([i]) * 1000 for i in (1, 2)}
    hub.repos["owner/repo"] = Repo(pieces)
    done = json.loads(cli("pull", "hf:owner/repo", "--json").out)
    assert (done["model"], done["bytes"]) == ("hf:owner/repo", 2000)
    assert done["path"] == done["files"][0]["path"]
    assert [file["sha256"] for file in done["files"]] == [sha256(data) for data in pieces.values()]
    assert [file["bytes"] for file in done["files"]] == [1000, 1000]


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read whole for their checksum."""
    files: list[Path] = []
    hash_file = fetch.hash_file

    def counting(path: Path, *args: Any, **kwargs: Any) -> str:
        files.append(path)
        return hash_file(path, *args, **kwargs)

    for module in (fetch, hub_download):
        monkeypatch.setattr(module, "hash_file", counting)
    return files


def test_pull_json_reads_a_file_once_for_its_checksum(cli: Cli, hub: Hub, hashed: list[Path]) -> None:
    path, linked = tiny(), put_on_hub("m-Q4_K_M.gguf", DATA, commit=hub.repos["owner/repo"].commit)
    for name, there, data in (("tiny", path, OTHER), (NAME, linked, DATA)):
        (file,) = json.loads(cli("pull", name, "--json").out)["files"]
        assert (file["path"], file["bytes"], file["sha256"]) == (str(there), len(data), sha256(data))
    assert [file.resolve() for file in hashed] == [path.resolve(), linked.resolve()]


def test_pull_json_has_the_checksum_of_what_is_there_where_nothing_tells_it(
    cli: Cli, hub: Hub, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline, the cache's damaged file is not told as what it should be; nor is git's checksum of a small file sha256."""
    hub.repos["owner/small"] = Repo({"m.gguf": OTHER}, small={"m.gguf"})
    (file,) = json.loads(cli("pull", "hf:owner/small", "--json").out)["files"]
    assert file["sha256"] == sha256(OTHER)
    linked = put_on_hub("m-Q4_K_M.gguf", DATA)
    put(linked.resolve(), OTHER)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    done = cli("pull", NAME, "--json")
    assert done.err.endswith("was not checked\n")
    (file,) = json.loads(done.out)["files"]
    assert file["sha256"] == sha256(OTHER)


def test_pull_of_the_catalogue_checks_what_is_there(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny()
    assert cli("pull", "T") == (0, f"{path}\n", "checking tiny\n")
    put(path, OTHER[:-1] + b"!")
    fetched: list[str] = []

    def download(entry: Entry, scratch: Path, report: fetch.Report) -> Path:
        fetched.append(entry.name)
        return put(scratch / entry.file)

    monkeypatch.setattr(fetch, "_download", download)
    assert pyruntime.pull("tiny") == path  # a file of the right size is trusted where nobody asks to check it
    assert not fetched
    told = "checking tiny\ntiny in the cache is damaged: it is fetched again\n"
    assert cli("pull", "tiny") == (0, f"{path}\n", told)
    assert fetched == ["tiny"]
    assert path.read_bytes() == OTHER


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("tny", ["tny: no model of the catalogue, which has tiny, more: did you mean tiny?"]),
        ("TIN", ["did you mean tiny?"]),
        ("owner/repo", ["did you mean hf:owner/repo, of the Hugging Face hub?"]),
        ("https://huggingface.co/owner/repo", ["did you mean hf:owner/repo?"]),
        ("https://hf.co/owner/repo/blob/main/a/m.gguf?download=true", ["did you mean hf:owner/repo/a/m.gguf?"]),
        ("zzz", ["of the Hugging Face hub it would be hf:owner/repo[@revision][/file.gguf][:Q4_K_M]"]),
        ("\x1b[31mzzz\n", ["\\x1b[31mzzz\\x0a: no model"]),
        ("", ["'': no model"]),
        ("hf:owner", ["hf:owner: a model of the Hugging Face hub is hf:owner/repo"]),
    ],
)
def test_names_that_are_none(cli: Cli, name: str, parts: list[str]) -> None:
    assert_one_line_error(cli("pull", name), 1, *parts)


def test_a_path_is_nothing_to_pull(cli: Cli, model_file: Path) -> None:
    assert_one_line_error(cli("pull", str(model_file)), 1, "no model of the catalogue")


def test_a_chat_fetches_a_model_of_the_hub(cli: Cli, hub: Hub) -> None:
    done = cli("generate", NAME, "say hello")
    assert (done.code, done.out) == (0, "hello\n")
    assert done.err.startswith("fetching m-Q4_K_M.gguf of owner/repo")
    assert cli("generate", NAME, "say hello") == (0, "hello\n", "")


def test_interrupted_on_a_terminal_and_gone_on_with(hub: Hub, cli: Cli) -> None:
    hub.hold = threading.Event()
    master, slave = pty.openpty()
    with running([sys.executable, "-m", "pyruntime", "pull", NAME], stderr=slave, stdin=slave) as process:
        os.close(slave)
        assert hub.held.wait(TIMEOUT)
        shown = b""
        while b"%" not in shown:
            shown += os.read(master, 1000)
        wait_for(lambda: partial_size() > 1_000_000)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=TIMEOUT)[0] == b""
        shown += os.read(master, 10_000)
    os.close(master)
    assert process.returncode == 130
    assert shown.startswith(b"fetching m-Q4_K_M.gguf of owner/repo (3 MB, apache-2.0) from ")
    assert shown.endswith(b" of 3.0 MB \r\n")  # the bar's line is ended, and nothing else was said
    there = partial_size()
    (leftover,) = cache.leftovers()
    assert leftover.bytes == there
    hub.hold.set()
    hub.hold = None
    hub.requests.clear()
    assert cli("pull", NAME).err.count("MB of it are there") == 1
    assert [request.start for request in hub.downloads()] == [there]
    assert pyruntime.pull(NAME).read_bytes() == DATA
    assert not cache.leftovers()


def partial_size() -> int:
    return sum(path.stat().st_size for path in cache_folder().rglob("*.incomplete"))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# rm


def test_rm(cli: Cli) -> None:
    path, other = tiny(), put(models_folder() / MORE.file, b"12345")
    linked = put_on_hub("m-Q4_K_M.gguf", DATA)
    done = cli("rm", "T", NAME)
    assert (done.code, done.out) == (0, "")
    assert done.err == f"removed {path}\nremoved {linked}\n3.0 MB freed\n"
    assert names() == ["more"]
    assert other.exists()
    assert not list(cache_folder().iterdir())


def test_rm_json(cli: Cli) -> None:
    path = tiny()
    done = cli("rm", "tiny", "tiny", "--json")
    assert json.loads(done.out) == {"removed": [str(path)], "freed_bytes": len(OTHER)}
    assert done.err == ""


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("more", "more is not in the cache"),
        ("nope", "nope is no model in the cache; `pyruntime models` lists them"),
        ("", "'' is no model in the cache"),
        ("hf:owner/repo:Q8_0", "hf:owner/repo:Q8_0 is not in the cache"),
        ("hf:owner/another", "hf:owner/another is not in the cache"),
        ("hf:owner/repo@v1", "hf:owner/repo@v1 is not in the cache"),
        ("hf:../..", "a model of the Hugging Face hub is"),
    ],
)
def test_a_wrong_name_removes_nothing(cli: Cli, name: str, part: str) -> None:
    path, linked = tiny(), put_on_hub("m-Q4_K_M.gguf", DATA)
    assert_one_line_error(cli("rm", "tiny", NAME, name), 1, part)
    assert path.exists()
    assert linked.exists()


def test_rm_of_nothing(cli: Cli) -> None:
    assert_one_line_error(cli("rm"), 2, "name a model to remove, or --leftovers")


def test_a_users_file_is_the_users(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = put(tmp_path / "own.gguf")
    in_cache = put(models_folder() / "own.gguf")
    path, linked = tiny(), put_on_hub("m-Q4_K_M.gguf", DATA)
    for name in ("own.gguf", "./own.gguf", str(own), str(in_cache), "gone.gguf"):
        assert_one_line_error(cli("rm", name), 1, "is a path: only what was fetched by name is removed by name")
    assert_one_line_error(cli("rm", str(path)), 1, "is a path: remove it as tiny")
    assert_one_line_error(cli("rm", str(linked)), 1, f"is a path: remove it as {NAME}")
    put(tmp_path / "tiny")  # a name is a name, whatever the current folder has
    assert cli("rm", "tiny").code == 0
    assert (tmp_path / "tiny").exists()
    assert own.exists()
    assert in_cache.exists()
    assert linked.exists()


def test_what_shares_a_blob_keeps_it() -> None:
    one = put_on_hub("a-Q8_0.gguf", DATA)
    put_on_hub("b-Q4_0.gguf", DATA, commit="d" * 40, ref="v1")
    assert cache.remove(cache.find("hf:owner/repo:Q8_0")) == 0
    assert not one.exists()
    assert names() == ["hf:owner/repo:Q4_0"]
    assert cache.remove(cache.find("hf:owner/repo:Q4_0")) == len(DATA)
    assert not repo_folder("owner/repo").exists()


def test_rm_takes_a_model_of_every_commit_and_leaves_the_rest() -> None:
    put_on_hub("m-Q8_0.gguf", DATA, commit="c" * 40, ref=None)
    put_on_hub("m-Q8_0.gguf", OTHER, commit="d" * 40)
    config = put_on_hub("config.json", b"{}", commit="d" * 40)
    put_on_hub("m-Q4_0.gguf", DATA + b"x", commit="d" * 40)
    put(repo_folder("owner/repo") / "refs" / "old", b"c" * 40)
    assert cache.remove(cache.find("hf:owner/repo:Q8_0")) == len(DATA) + len(OTHER)
    assert tree(repo_folder("owner/repo")) == {
        *(f"blobs/{sha256(data)}" for data in (b"{}", DATA + b"x")),
        *(f"snapshots/{'d' * 40}/{name}" for name in ("config.json", "m-Q4_0.gguf")),
        "refs/main",  # and not that to a commit that is gone
    }
    cache.remove(cache.find("hf:owner/repo"))
    assert config.read_bytes() == b"{}"
    assert names() == []


def test_rm_of_a_revision() -> None:
    put_on_hub("m-Q8_0.gguf", DATA, commit="c" * 40, ref=None)
    kept = put_on_hub("m-Q8_0.gguf", OTHER, commit="d" * 40)
    assert cache.remove(cache.find("hf:owner/repo@ccccccc:Q8_0")) == len(DATA)
    assert kept.exists()


def test_links_out_of_the_cache_are_not_followed(tmp_path: Path) -> None:
    mine = put(tmp_path / "mine.gguf")
    models_folder().mkdir(parents=True)
    link = models_folder() / ENTRY.file
    link.symlink_to(mine)
    assert cache.remove(cache.find("tiny")) == 0  # the link is the cache's, what it leads to is not
    assert not link.is_symlink()
    snapshot = put_on_hub("m-Q4_0.gguf", DATA).parent
    (snapshot / "m-Q8_0.gguf").symlink_to(mine)
    assert cache.remove(cache.find("hf:owner/repo:Q8_0")) == 0
    assert mine.exists()
    elsewhere = tmp_path / "elsewhere"
    shutil.move(repo_folder("owner/repo"), elsewhere)
    repo_folder("owner/repo").symlink_to(elsewhere)
    assert names() == ["hf:owner/repo:Q4_0"]
    with pytest.raises(FetchError, match="not inside the cache, since a link leads out of it: not removed"):
        cache.remove(cache.find("hf:owner/repo:Q4_0"))
    assert (elsewhere / "blobs" / sha256(DATA)).exists()
    with pytest.raises(FetchError, match="is not in the cache: not removed"):
        cache.remove([mine])


def test_a_cache_that_is_itself_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").mkdir()
    for name in ("hf", "home"):
        (tmp_path / name).symlink_to(tmp_path / "disk")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("PYRUNTIME_HOME", str(tmp_path / "home"))
    tiny(), put_on_hub("m-Q8_0.gguf", DATA)
    assert cache.remove([*cache.find("tiny"), *cache.find("hf:owner/repo")]) == len(OTHER) + len(DATA)


def test_a_model_that_is_open_stays_usable(hub: Hub) -> None:
    with pyruntime.pull(NAME).open("rb") as file:
        cache.remove(cache.find(NAME))
        assert file.read() == DATA


def test_leftovers(cli: Cli) -> None:
    half = put(models_folder() / ".tiny.gguf.partial-abc" / "p" / "half.whl", bytes(1000))
    put(models_folder() / ".tiny.gguf.lock", b"")
    outdated = put(models_folder() / MORE.file, bytes(2000))
    partial = put(repo_folder("owner/repo") / "blobs" / f"{sha256(DATA)}.pyruntime.incomplete", bytes(3000))
    theirs = put(repo_folder("owner/repo") / "blobs" / f"{sha256(DATA)}.incomplete", bytes(4000))
    listed = json.loads(cli("models", "--json").out)
    assert [(Path(left["path"]), left["bytes"]) for left in listed["leftovers"]] == [
        (half.parent.parent, 1000),
        (outdated, 2000),
        (partial, 3000),
    ]
    assert "Interrupted downloads left 0.0 MB: `pyruntime rm --leftovers`" in cli("models").err
    done = cli("rm", "--leftovers", "--json")
    assert json.loads(done.out)["freed_bytes"] == 6000
    assert not half.parent.parent.exists()
    assert not outdated.exists()
    assert not partial.exists()
    assert theirs.exists()  # of another program, that may be busy with it
    assert cli("rm", "--leftovers") == (0, "", "interrupted downloads left nothing\n")


def test_a_download_that_is_going_on_is_no_leftover() -> None:
    import fcntl

    put(models_folder() / ".tiny.gguf.partial-abc" / "half.whl", bytes(1000))
    lock = put(models_folder() / ".tiny.gguf.lock", b"")
    partial = put(repo_folder("owner/repo") / "blobs" / f"{sha256(DATA)}.pyruntime.incomplete", bytes(3000))
    with lock.open("rb") as one, partial.open("rb") as two:
        for file in (one, two):
            fcntl.flock(file, fcntl.LOCK_EX)
        assert cache.leftovers() == []
    assert len(cache.leftovers()) == 2


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("yes", 0), ("", 1), ("n", 1), ("\x04", 1)])
def test_rm_asks_on_a_terminal(answer: str, code: int) -> None:
    linked = put_on_hub("m-Q8_0.gguf", DATA)
    with Terminal("rm", "hf:owner/repo") as terminal:
        terminal.expect(f"  {linked}\r\n")
        terminal.expect("Remove this? [y/N] ")
        terminal.type(answer if answer == "\x04" else f"{answer}\n")
        assert terminal.exit_code() == code
        terminal.expect("3.0 MB freed\r\n" if code == 0 else "\r\nnothing was removed\r\n")
    assert linked.exists() == (code == 1)


def test_ctrl_c_at_the_question_removes_nothing() -> None:
    linked = put_on_hub("m-Q8_0.gguf", DATA)
    with ScreenTerminal("rm", "hf:owner/repo", script=terminal_command.__file__, columns=200) as terminal:
        terminal.until("[y/N]")
        terminal.type(ctrl("c"))
        assert terminal.finish() == 130
        assert terminal.screen.at == (2, 0)  # the shell's prompt begins a line
    assert linked.exists()


def test_rm_yes_does_not_ask() -> None:
    linked = put_on_hub("m-Q8_0.gguf", DATA)
    with Terminal("rm", "hf:owner/repo", "--yes") as terminal:
        assert terminal.exit_code() == 0
    assert not linked.exists()


def test_ctrl_c_at_the_question(hub: Hub) -> None:
    linked = put_on_hub("m-Q8_0.gguf", DATA)
    with Terminal("rm", "hf:owner/repo") as terminal:
        terminal.expect("Remove this? [y/N] ")
        terminal.ctrl_c_at_prompt()
        assert terminal.exit_code() == 130
    assert linked.exists()


def test_api_is_lazy_and_public() -> None:
    assert "pull" in pyruntime.__all__
    call: Any = pyruntime.pull
    assert call is catalogue.pull
