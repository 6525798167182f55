"""`pyruntime completion`: what real shells make of the scripts. CI installs all three (.ci/run)."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_tools import TIMEOUT, Cli, running

from pyruntime.catalogue import DEFAULT, entries, find, models_folder
from pyruntime.cli import find_verbs, main
from pyruntime.completion import SHELLS
from pyruntime.hub import repo_folder

MODELS = {entry.name for entry in entries()}
HERE = {"other.gguf", "two words.gguf", "folder/"}  # beside them notes.txt, which is no model
HUB, ODD = "hf:owner/repo:Q4_K_M", {"hf:owner/odd/$(touch made) ;.gguf"}  # in the cache, beside DEFAULT and own.gguf

# A line up to the cursor, and all that can follow; the same in every shell.
CASES = [
    ("pyruntime ", set(find_verbs())),
    ("pyruntime gen", {"generate"}),
    ("pyruntime --deb", {"--debug"}),
    ("pyruntime chat --kv-t", {"--kv-type"}),
    ("pyruntime chat --kv-type ", {"f16", "f32", "q8_0"}),
    ("pyruntime chat --kv-type q", {"q8_0"}),
    ("pyruntime chat --kv-type q8_0 --over", {"--overflow"}),
    ("pyruntime --debug chat --overflow d", {"drop"}),
    ("pyruntime chat ", MODELS | HERE),
    ("pyruntime chat o", {"other.gguf"}),
    ("pyruntime chat folder/", {"folder/inner.gguf"}),
    ("pyruntime generate --temperature 0 smol", {"smollm2-135m-instruct"}),
    ("pyruntime generate other.gguf ", set()),
    ("pyruntime generate other.gguf --temperature ", set()),
    ("pyruntime completion f", {"fish"}),
    ("pyruntime pull ", MODELS),
    ("pyruntime rm ", {DEFAULT, HUB, *ODD}),
    ("pyruntime rm s", {DEFAULT}),
    ("pyruntime rm --yes h", {HUB, *ODD}),
    ("pyruntime rm other.gguf " + DEFAULT + " hf:owner/r", {HUB}),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with models in it, and a cache with others; the user's start-up files are out of reach."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name in ("other.gguf", "two words.gguf", "notes.txt"):
        (folder / name).touch()
    (folder / "folder").mkdir()
    (folder / "folder" / "inner.gguf").touch()
    _fill_cache()
    command = tmp_path / "bin" / "pyruntime"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pyruntime "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    monkeypatch.chdir(folder)
    for name in ("HOME", "ZDOTDIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    return folder


def _fill_cache() -> None:
    default = find(DEFAULT)
    assert default is not None
    for path, size in (
        (models_folder() / default.file, default.bytes),
        (models_folder() / "own.gguf", 1),
        (repo_folder("owner/repo") / "snapshots" / ("c" * 40) / "m-Q4_K_M.gguf", 1),
        (repo_folder("owner/odd") / "snapshots" / ("c" * 40) / "$(touch made) ;.gguf", 1),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.truncate(path, size)  # sparse


def script_of(shell: str, path: Path) -> Path:
    """The script in a file, written by the command."""
    run = subprocess.run(
        [sys.executable, "-m", "pyruntime", "completion", shell], capture_output=True, check=True, text=True
    )
    assert run.stderr == ""
    path.write_text(run.stdout)
    return path


def program(shell: str) -> str:
    path = shutil.which(shell)
    if path is None:
        assert not os.environ.get("CI"), f"{shell} is missing, and .ci/run installs it"
        pytest.skip(f"{shell} is not installed")
    return path


def run(command: list[str]) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout.splitlines()


def by_bash(lines: list[str], script: Path) -> dict[str, set[str]]:
    """What its function replies, for the words that bash cuts a line into."""
    source = ["compopt() { :; }", f"source {script}"]
    for line in lines:
        words = line.replace("=", " = ").replace(":", " : ").split(" ")
        words = [word for word in words[:-1] if word] + words[-1:]
        source += [f"COMP_LINE={line!r} COMP_POINT={len(line)}"]
        source += [f"COMP_WORDS=({' '.join(map(repr, words))}) COMP_CWORD={len(words) - 1}", "_pyruntime"]
        source += [f'printf "{line}\t%s\n" "" ${{COMPREPLY[@]+"${{COMPREPLY[@]}}"}}']
    replies: dict[str, set[str]] = {}
    for reply in run([program("bash"), "--norc", "-uc", "\n".join(source)]):
        line, _, word = reply.partition("\t")
        before, colon, _ = line.rpartition(" ")[2].rpartition(":")
        word = word and before + colon + word.replace("\\", "")  # bash keeps what stands before the last colon
        # Bash itself adds the slash of a folder.
        replies.setdefault(line, set()).update({f"{word}/" if Path(word).is_dir() else word} if word else ())
    return replies


def by_fish(lines: list[str], script: Path) -> dict[str, set[str]]:
    source = f"source {script}; for line in {' '.join(map(repr, lines))}; echo; echo $line; complete -C $line; end"
    replies = {}
    for block in "\n".join(run([program("fish"), "--no-config", "-c", source])).split("\n\n"):
        line, *words = block.lstrip("\n").split("\n")
        replies[line] = {word.partition("\t")[0].replace("\\ ", " ") for word in words if word}
    return replies


@pytest.mark.parametrize("ask", [by_bash, by_fish])
def test_all_that_can_follow(ask: Callable[[list[str], Path], dict[str, set[str]]], folder: Path) -> None:
    script = script_of(ask.__name__.removeprefix("by_"), folder.parent / "script")
    assert ask([line for line, _ in CASES], script) == dict(CASES)
    assert not (folder / "made").exists()


def test_bash_with_equals_signs(folder: Path) -> None:
    cases = {"": {"f16", "f32", "q8_0"}, "q": {"q8_0"}, "q8_0 o": {"other.gguf"}}
    lines = {f"pyruntime chat --kv-type={end}": words for end, words in cases.items()}
    assert by_bash(list(lines), script_of("bash", folder.parent / "script")) == lines


class Interactive:
    """A shell on a terminal, in which `pyruntime` prints its arguments: what Tab really writes."""

    def __init__(self, argv: list[str], setup: str) -> None:
        self._master, slave = pty.openpty()
        streams = {"stdin": slave, "stdout": slave, "stderr": slave, "env": os.environ | {"TERM": "dumb", "PS1": "$ "}}
        self._running = running(argv, start_new_session=True, **streams)
        self._running.__enter__()
        os.close(slave)
        self._send(f"{setup}; pyruntime() {{ printf '<%s>' \"$@\"; echo; }}; echo rea''dy\n", "ready\r")

    def close(self) -> None:
        self._running.__exit__(None, None, None)
        os.close(self._master)

    def run(self, line: str) -> str:
        """What the arguments became, with Tab pressed at the end."""
        seen = self._send(f"{line}\t\necho do''ne\n", "done\r")
        return next(text for text in reversed(seen.splitlines()) if text.startswith("<"))

    def listing(self, line: str, expected: set[str]) -> str:
        """The screen once Tab was pressed, twice, and all that is expected stands there. (A shell with more to read
        shows no list.)"""
        os.write(self._master, f"{line}\t\t".encode())
        seen = ""
        while not expected <= set(seen.split()):
            seen += self._read(seen)
        self._send("\x15echo do''ne\n", "done\r")
        return seen

    def _send(self, text: str, until: str) -> str:
        os.write(self._master, text.encode())
        seen = ""
        while until not in seen:
            seen += self._read(seen)
        return seen

    def _read(self, seen: str) -> str:
        assert select.select([self._master], [], [], TIMEOUT)[0], seen
        return os.read(self._master, 4096).decode(errors="replace")


INTERACTIVE = {
    "bash": (["--norc", "--noprofile", "-i"], "bind 'set bell-style none'; source {}"),
    "zsh": (["-f", "-i"], 'autoload -U compinit; compinit -u -D; setopt no_beep; eval "$(<{})"'),
}


@pytest.fixture(params=INTERACTIVE)
def shell(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Iterator[Interactive]:
    options, setup = INTERACTIVE[request.param]
    script = script_of(request.param, tmp_path / "script")
    shell = Interactive([program(request.param), *options], setup.format(script))
    yield shell
    shell.close()


def test_on_a_terminal(shell: Interactive) -> None:
    for line, expected in CASES:
        if len(expected) == 1 and not line.endswith("/"):
            (word,) = expected
            assert shell.run(line) == "".join(f"<{w}>" for w in [*line.split()[1:-1], word]), line
    assert shell.run("pyruntime chat two") == "<chat><two words.gguf>"
    assert shell.run("pyruntime rm hf:owner/repo:") == f"<rm><{HUB}>"  # bash cuts words at colons
    (odd,) = ODD
    assert shell.run("pyruntime rm hf:owner/o") == f"<rm><{odd}>"
    assert not Path("made").exists()
    assert shell.run("pyruntime generate other.gguf no") == "<generate><other.gguf><no>"  # notes.txt is no prompt
    shell.listing("pyruntime chat --kv-type ", {"f16", "f32", "q8_0"})
    shell.listing("pyruntime ", set(find_verbs()))
    assert "notes.txt" not in shell.listing("pyruntime chat ", MODELS | {"other.gguf", "folder/"})


@pytest.mark.parametrize("shell", SHELLS)
def test_every_option_is_in_the_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    for name in ("--temperature", "--kv-type", "--dry-sequence-breaker", "--version"):
        assert (name if shell != "fish" else f"-l {name[2:]}") in text


def test_an_unknown_shell(cli: Cli) -> None:
    done = cli("completion", "tcsh")
    assert done.code == 2
    assert "tcsh" in done.err
