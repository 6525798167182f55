"""Nothing leaves the machine unless a model is asked for that is not there: every verb runs with sockets forbidden."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_gguf
from cli_tools import TIMEOUT, Terminal

from pyruntime import cli

WITHOUT = str(Path(__file__).with_name("no_network.py"))
COMMIT = "0123456789abcdef0123456789abcdef01234567"

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="the filter is for Linux on x86-64 and ARM64",
)

# Of each verb the ways to call it that need no network. MODEL is a file, HUB a name of the hub that is in the cache.
CALLS = {
    "bench": [["MODEL", "--prefill", "8", "--generate", "2"], ["HUB", "--prefill", "8", "--generate", "2", "--json"]],
    "chat": [["MODEL", "--max-tokens", "2"], ["HUB", "--max-tokens", "2", "--json"]],
    "completion": [["bash"], ["zsh"], ["fish"]],
    "doctor": [[], ["--json"]],
    "generate": [["MODEL", "hello", "--max-tokens", "2"], ["HUB", "hello", "--max-tokens", "2"]],
    "inspect": [["MODEL", "--tensors", "--plan"], ["HUB", "--json"]],
    "models": [[], ["--json"]],
    "rm": [["--leftovers"], ["HUB"]],
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_gguf.write(tmp_path / "model.gguf")


@pytest.fixture
def cached(model: Path) -> str:
    """The name of a model that the hub's cache has."""
    repository = Path(os.environ["HF_HOME"]) / "hub" / "models--owner--repo"
    for folder in ("blobs", "refs", f"snapshots/{COMMIT}"):
        (repository / folder).mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "blobs" / "b").write_bytes(model.read_bytes())
    (repository / "snapshots" / COMMIT / "m-Q4_1.gguf").symlink_to("../../blobs/b")
    return "hf:owner/repo:Q4_1"


def run(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, WITHOUT, *argv], input=stdin, capture_output=True, timeout=TIMEOUT, encoding="utf-8"
    )


@pytest.mark.parametrize(
    "code", ["import socket; socket.socket()", "import socket; socket.getaddrinfo('a.example', 1)"]
)
def test_a_socket_is_met_with_death(code: str) -> None:
    assert run("-c", code).returncode == -signal.SIGSYS


def test_a_model_that_is_not_there_is_asked_for() -> None:
    """What the other tests would see of a verb that used the network."""
    done = run("-m", "pyruntime", "pull", "hf:owner/repo")
    assert (done.returncode, done.stdout) == (-signal.SIGSYS, "")


@pytest.mark.parametrize(("verb", "argv"), [(verb, argv) for verb, calls in CALLS.items() for argv in calls])
def test_no_verb_uses_the_network(model: Path, cached: str, verb: str, argv: list[str]) -> None:
    words = [{"MODEL": str(model), "HUB": cached}.get(word, word) for word in argv]
    done = run("-m", "pyruntime", verb, *words, stdin="hello\n" if verb == "chat" else "")
    assert (done.returncode, "rror" in done.stderr) == (0, False), done.stderr
    assert done.stdout or verb == "rm"


def test_no_verb_is_forgotten() -> None:
    assert {*CALLS, "pull"} == set(cli.find_verbs())


@pytest.mark.parametrize("flag", ["--version", "--help"])
def test_flags(flag: str) -> None:
    assert run("-m", "pyruntime", flag).returncode == 0


@pytest.mark.model
def test_pull_of_what_is_there(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue's model is checked by the checksum that the catalogue has."""
    monkeypatch.setenv("PYRUNTIME_HOME", str(model_path.parent.parent))
    done = run("-m", "pyruntime", "pull", "smollm2-135m-instruct")
    assert (done.returncode, done.stdout) == (0, f"{model_path}\n")


def test_a_chat_at_a_terminal(model: Path) -> None:
    argv = ["-m", "pyruntime", "chat", str(model), "--max-tokens", "2"]
    with Terminal(*argv, script=WITHOUT, env=os.environ | {"TERM": "xterm"}) as terminal:
        terminal.expect("lists the commands")
        terminal.expect(">")
        terminal.type("hello\r")
        terminal.expect("tokens/s")
        terminal.type("/exit\r")
        assert terminal.exit_code() == 0


def test_python(model: Path) -> None:
    code = """
import pyruntime
with pyruntime.Model(MODEL) as model:
    model.generate("hello", max_tokens=2)
    model.chat([{"role": "user", "content": "hello"}], max_tokens=2)
    model.logits([1, 2])
print(pyruntime.inspect(MODEL).parameters > 0)
"""
    done = run("-c", code.replace("MODEL", repr(str(model))))
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
