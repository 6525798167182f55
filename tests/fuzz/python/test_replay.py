"""What fuzzing of the Python readers found, and 2,000 mutants of it a harness (docs/fuzzing.md)."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import driver
import pytest
from harness import Broken, check_message, require

CORPUS = Path(__file__).parents[1] / "corpus"
MUTANTS = 2000


@pytest.mark.parametrize("name", ["session", pytest.param("template", marks=pytest.mark.slow), "tokenizer"])
def test_the_corpus_and_mutants_of_it(name: str) -> None:
    """In a process of its own, as an input may end it."""
    command = [sys.executable, driver.__file__, name, str(CORPUS / name), str(MUTANTS)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert run.returncode == 0, run.stdout + run.stderr[-3000:]
    assert f"{MUTANTS} mutants" in run.stdout


class Fake:
    """A harness whose code under test is `use`."""

    def __init__(self, use: Callable[[], object]) -> None:
        self.use = use

    def run(self, data: bytes) -> bool:
        self.use()
        return True

    def mutate(self, data: bytes, draw: random.Random) -> bytes:
        return data

    def seeds(self) -> list[bytes]:
        return []


@pytest.mark.parametrize(
    "use",
    [
        lambda: [].pop(),
        lambda: require(1 > 2, "one is more than two"),
        lambda: check_message(ValueError("two\nlines")),
        lambda: check_message(ValueError("x" * 1001)),
        lambda: check_message(ValueError("\x1b[31m")),
    ],
)
def test_what_ends_a_run(use: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="the input: b'abc'"):
        driver.run(Fake(use), b"abc")
    assert "IndexError" in (said := capsys.readouterr().err) or Broken.__name__ in said


def test_an_input_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "MAX_SECONDS", 0.01)
    with pytest.raises(SystemExit, match="seconds for the input: b'abc'"):
        driver.run(Fake(lambda: spend(0.05)), b"abc")


def spend(seconds: float) -> None:
    start = time.process_time()
    while time.process_time() - start < seconds:
        pass


@pytest.mark.parametrize("name", driver.HARNESSES)
def test_a_mutant_is_the_same_each_time(name: str) -> None:
    harness = driver.load(name)
    corpus = sorted(harness.seeds())
    mutants = [driver.mutant(harness, corpus, seed) for seed in range(50)]
    assert mutants == [driver.mutant(harness, corpus, seed) for seed in range(50)]
    assert len({*mutants}) > 40
