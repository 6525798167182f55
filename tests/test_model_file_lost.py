"""The model's file truncated, overwritten, replaced or deleted: nothing happens to a model that is loaded, and to one that is
loading nothing worse than an error."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_gguf
from cli_tools import TIMEOUT, running

from pyruntime import Model


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\xff" * path.stat().st_size)


def replace(path: Path) -> None:
    """By another file, as an update does it."""
    other = path.with_suffix(".new")
    other.write_bytes(b"GGUF, but for the rest")
    os.replace(other, path)


def delete(path: Path) -> None:
    path.unlink()


DAMAGES = (shorten, empty, overwrite, replace, delete)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("lost") / "tiny.gguf")


@pytest.fixture
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a model's file: of the fixture that the parameter names."""
    copied = tmp_path / "model.gguf"
    shutil.copy(request.getfixturevalue(request.param), copied)
    return copied


tiny_and_real = pytest.mark.parametrize(
    ("file", "times"),
    [("tiny", 15), pytest.param("model_path", 100, marks=[pytest.mark.model, pytest.mark.slow])],
    indirect=["file"],
    ids=["tiny", "real"],
)


@contextmanager
def piped_chat(file: Path) -> Iterator[Callable[[str], Any]]:
    """Asks a chat in a process of its own; what it answers, with the token ids."""
    flags = ("--json", "--max-tokens", "12", "--context", "512", "--temperature", "0")
    with running([sys.executable, "-m", "pyruntime", "chat", str(file), *flags], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(question: str) -> Any:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{question}\n".encode())
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            return answer["text"], answer["ids"], answer["dropped_messages"]

        yield ask
        process.stdin.close()
        assert process.wait(TIMEOUT) == 0


@tiny_and_real
def test_a_chat_goes_on(file: Path, times: int) -> None:
    """Its answers are those of one that nobody disturbs."""
    questions = [f"What about number {n}?" for n in range(times)]
    data = file.read_bytes()
    with piped_chat(file) as ask:
        expected = [ask(questions[0])]
        begun = time.perf_counter()
        expected += [ask(question) for question in questions[1:]]
        seconds = (time.perf_counter() - begun) / (times - 1)
    assert len({text for text, *_ in expected}) > 1
    assert any(dropped for *_, dropped in expected)  # also once the context was full
    chosen = random.Random(0)
    with piped_chat(file) as ask:
        assert ask(questions[0]) == expected[0]
        for question, answer in zip(questions[1:], expected[1:], strict=True):
            damage = chosen.choice(DAMAGES)
            timer = threading.Timer(chosen.uniform(0, seconds), damage, [file])
            timer.start()
            assert ask(question) == answer, damage
            timer.join()
            file.unlink(missing_ok=True)
            file.write_bytes(data)


LOADING = """
import os, random, sys, threading, time
from pathlib import Path
from pyruntime import Model
from pyruntime.errors import PyruntimeError
from test_model_file_lost import DAMAGES

whole, file, times = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]), int(sys.argv[3])
chosen = random.Random(0)
file.write_bytes(whole)
seconds = []
for _ in range(3):
    begun = time.perf_counter()
    Model(file, threads=2).close()
    seconds.append(time.perf_counter() - begun)
for _ in range(times):
    file.unlink(missing_ok=True)
    file.write_bytes(whole)
    damage = chosen.choice(DAMAGES)
    timer = threading.Timer(chosen.uniform(0, min(seconds)), damage, [file])
    timer.start()
    try:
        with Model(file, threads=2) as model:
            print(damage.__name__, "loaded")
    except PyruntimeError as error:
        assert str(error).count("\\n") == 0
        assert file.name in str(error), error
        print(damage.__name__, type(error).__name__)
    timer.join()
"""


@tiny_and_real
def test_loading(file: Path, tmp_path: Path, times: int) -> None:
    """It is done with before the damage, or ends with an error that names the file; never with a signal."""
    command = [sys.executable, "-X", "faulthandler", "-c", LOADING, str(file), str(tmp_path / "hurt.gguf"), str(times)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + 10 * times)
    assert done.returncode == 0, done.stderr
    outcomes = [line.split()[1] for line in done.stdout.splitlines()]
    assert len(outcomes) == times
    assert set(outcomes) <= {"loaded", "GGUFError", "UnsupportedError", "MemoryLimitError"}
    print({outcome: outcomes.count(outcome) for outcome in outcomes})
    assert "GGUFError" in outcomes


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["tiny"], indirect=True)
def test_what_is_built_late(damage: Callable[[Path], None], file: Path, tmp_path: Path) -> None:
    """Tokenizer, template, the plan for captures, the fingerprint and saved sessions come out of memory."""
    prompt = [{"role": "user", "content": "the hand in the"}]
    with Model(file) as model:
        expected = model.chat(prompt, max_tokens=20, temperature=0)
        logits = model.logits([1, 2, 3])
        fingerprint = model.fingerprint
    with Model(file) as model:
        damage(file)
        assert model.chat(prompt, max_tokens=20, temperature=0).ids == expected.ids
        assert model.logits([1, 2, 3]).tobytes() == logits.tobytes()
        assert model.fingerprint == fingerprint
        with model.session() as session:
            session.append(np.arange(70))
            captured = session.capture(model.value_names[-1:], [1, 2])
            assert all(np.isfinite(value).all() for value in captured.values())
            session.save(tmp_path / "saved")
            session.load(tmp_path / "saved")
