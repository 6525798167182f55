"""Saving where it cannot be done: a full disk, a folder that is read-only. What was there stays, one line says why, and the chat
goes on."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
import tiny_gguf
from terminal_screen import UP, ScreenTerminal, ctrl

from pyruntime import Model
from pyruntime.cli.chat import saved
from pyruntime.cli.chat.history import History
from pyruntime.cli.chat.saved import ConversationFileError

PAGE = 4096  # what a file of a tmpfs grows by
FULL = "No space left on device"
MESSAGES = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def fill(disk: Path) -> None:
    with suppress(OSError), (disk / "filling").open("wb", buffering=0) as file:
        while file.write(bytes(PAGE)):
            pass


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_a_conversation_on_a_full_disk(model_file: Path, small_disk: Path) -> None:
    with ScreenTerminal("chat", str(model_file), cwd=small_disk) as chat:
        chat.ask("say one")
        assert chat.ask("/save talk.json") == "saved: 2 messages in talk.json"
        before = (small_disk / "talk.json").read_bytes()
        fill(small_disk)
        chat.ask("say two")
        assert chat.ask("/save") == f"pyruntime: talk.json: {FULL}"
        assert chat.ask("/save other.json") == f"pyruntime: other.json: {FULL}"
        assert (small_disk / "talk.json").read_bytes() == before
        assert names(small_disk) == {"talk.json", "filling"}
        assert chat.ask("say three").startswith("three\n")
        (small_disk / "filling").unlink()
        assert chat.ask("/save") == "saved: 6 messages in talk.json"
        chat.type(ctrl("d"))
        assert chat.finish() == 0


def test_a_session_on_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    file = small_disk / "a.session"
    with Model(tiny_gguf.write(tmp_path / "tiny.gguf"), context=1024) as model, model.session() as session:
        session.append(tiny_gguf.ids(70))
        session.save(file)
        before = file.read_bytes()
        fill(small_disk)
        session.append(tiny_gguf.ids(600))
        with pytest.raises(OSError, match=FULL):
            session.save(file)
        assert file.read_bytes() == before
        assert names(small_disk) == {"a.session", "filling"}
        assert len(session) == 670
        session.load(file)
        assert len(session) == 70


@pytest.mark.parametrize("left", [0, 10])
def test_history_on_a_full_disk(model_file: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch, left: int) -> None:
    """Also where a part of the line fits: the next chat drops it, and nothing else."""
    monkeypatch.setenv("PYRUNTIME_HOME", str(small_disk))
    file = small_disk / "history"
    old = b'"say old"\n'
    file.write_bytes(old + b"-" * (PAGE - left - len(old) - 1) + b"\n")
    fill(small_disk)
    with ScreenTerminal("chat", str(model_file), columns=300) as chat:
        assert chat.ask("say hello") == f"pyruntime: no history any more: {file}: {FULL}\nhello\n5 tokens, 4.0 tokens/s"
        assert chat.ask("say more").startswith("more\n")  # told once
        chat.type(UP + UP + UP)
        chat.until(lambda screen: screen.text[-1] == "> say old")
        chat.type(ctrl("c"))
        chat.until_prompt()
        chat.type(ctrl("d"))
        assert chat.finish() == 0
    assert file.read_bytes().startswith(old)
    (small_disk / "filling").unlink()
    with ScreenTerminal("chat", str(model_file)) as chat:
        chat.ask("say new")
    assert History(file).entries == ["say old", "say new"]


def test_a_history_that_cannot_be_cut(small_disk: Path) -> None:
    """One that has grown too long is written anew, and stays as it is where that fails."""
    file = small_disk / "history"
    lines = [json.dumps(f"say {n}").encode() + b"\n" for n in range(2500)]
    file.write_bytes(b"".join(lines))
    fill(small_disk)
    with pytest.raises(OSError, match=FULL):
        History(file)
    assert file.read_bytes() == b"".join(lines)
    assert names(small_disk) == {"history", "filling"}
    (small_disk / "filling").unlink()
    assert History(file).entries == [f"say {n}" for n in range(1500, 2500)]
    assert file.read_bytes() == b"".join(lines[1500:])


@pytest.mark.usefixtures("unprivileged")
def test_a_folder_that_is_read_only(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    saved.save(str(folder / "talk.json"), "m", [])
    before = (folder / "talk.json").read_bytes()
    folder.chmod(0o500)
    for name in ("talk.json", "other.json"):
        with pytest.raises(ConversationFileError, match=f"{name}: Permission denied"):
            saved.save(str(folder / name), "m", MESSAGES)
    assert (folder / "talk.json").read_bytes() == before
    assert names(folder) == {"talk.json"}


@pytest.mark.usefixtures("unprivileged")
def test_a_file_that_cannot_be_read_is_not_replaced(tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    saved.save(str(file), "m", [])
    file.chmod(0)
    with pytest.raises(ConversationFileError, match="Permission denied; choose another name"):
        saved.save(str(file), "m", MESSAGES)


def test_a_link_stays_one(tmp_path: Path) -> None:
    """The file that it points to is written; a dangling one is followed, too."""
    (tmp_path / "link.json").symlink_to(tmp_path / "talk.json")
    for messages in ([], MESSAGES):
        saved.save(str(tmp_path / "link.json"), "m", messages)
        assert (tmp_path / "link.json").is_symlink()
        assert saved.load(str(tmp_path / "talk.json")) == ("m", messages)
