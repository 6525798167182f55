"""Ctrl-C at 230 random moments of importing, loading, reading a prompt and answering, with a model of 491 MB.

What counts is the CPU time that the process takes after the signal, all its threads together: less than 100 ms. How long it is
on the clock depends on what else runs; its median is less than 100 ms.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest
import terminal_command
from terminal_screen import ENTER, ScreenTerminal, ctrl
from test_interrupt import GENERATE, LIMIT, LOAD, PREFILL, latencies

pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.model,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the CPU clock of another process is Linux's"),
]

PROMPT = " ".join(f"The square of {n} is {n * n}." for n in range(20))
FLAGS = ("--max-tokens", "16", "--temperature", "0")
# Says when `main` begins: what comes before is Python's own start, whose Ctrl-C is a traceback.
SURELY_IN_MAIN = 0.001  # seconds after that
COMMAND = "import os, sys; from pyruntime.__main__ import main; os.write(2, b'!'); sys.exit(main())"


class Latency(NamedTuple):
    wall: float  # seconds
    cpu: float


@pytest.fixture(scope="module")
def model(real_model: Callable[[str], Path]) -> Path:
    return real_model("qwen2.5-coder-0.5b-instruct")


def cpu_seconds(pid: int) -> float:
    """Of all threads of a process so far; clock_getcpuclockid(3)."""
    return time.clock_gettime(~pid << 3 | 2)


def assert_soon(found: list[Latency]) -> None:
    wall, cpu = ([1000 * seconds for seconds in column] for column in zip(*found, strict=True))
    shown = (f"{statistics.median(times):.0f} ms median, {max(times):.0f} ms at most" for times in (cpu, wall))
    print(f"{len(found)} interrupts: CPU {', clock '.join(shown)}")
    assert max(cpu) < 1000 * LIMIT
    assert statistics.median(wall) < 1000 * LIMIT


def started(model: Path) -> subprocess.Popen[bytes]:
    """`pyruntime generate`, at the beginning of its `main`."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "generate", str(model), PROMPT, *FLAGS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    assert process.stderr.read(1) == b"!"
    return process


def exited(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process has ended; it stays to be waited for."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def ended(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    """The exit code of a process, and the CPU seconds that it took in all."""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, used.ru_utime + used.ru_stime


def interrupted(model: Path, moment: float) -> Latency | None:
    """How long `generate` takes to end after Ctrl-C at so many seconds of its CPU time after the beginning of `main`; None if it
    had ended by then."""
    with started(model) as process:
        begun = cpu_seconds(process.pid)
        while (before := cpu_seconds(process.pid)) < begun + moment and not exited(process):
            time.sleep(0.001)
        sent = time.perf_counter()
        os.kill(process.pid, signal.SIGINT)
        code, in_all = ended(process)
        wall = time.perf_counter() - sent
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert code in (0, 130, -signal.SIGINT)  # the last is 130 to a shell
    return Latency(wall, in_all - before) if code else None


def test_generate(model: Path) -> None:
    with started(model) as process:
        begun = cpu_seconds(process.pid)
        code, in_all = ended(process)
        assert process.stdout is not None
        assert code == 0
        assert process.stdout.read()
    chosen = random.Random(0)
    moments = (chosen.uniform(SURELY_IN_MAIN, in_all - begun) for _ in range(200))
    found = list(islice(filter(None, (interrupted(model, moment) for moment in moments)), 100))
    assert len(found) == 100
    assert_soon(found)


@pytest.mark.parametrize(
    ("code", "n"), [(LOAD, 30), (PREFILL, 40), (GENERATE, 30)], ids=["load", "prefill", "generate"]
)
def test_in_a_program(code: str, n: int, model: Path) -> None:
    chosen = random.Random(1)
    assert_soon([Latency(*pair) for pair in latencies(code, model, [chosen.uniform(0, 0.6) for _ in range(n)])])


def test_answers_of_a_chat(model: Path) -> None:
    """The answer stops, and the chat goes on."""
    chosen = random.Random(2)
    found = []
    script = terminal_command.__file__
    with ScreenTerminal("chat", str(model), script=script) as chat:
        chat.ask('/set logit_bias {"151643": -1000, "151645": -1000}')  # no end of a turn, but by Ctrl-C
        for n in range(30):
            seen = len(chat.screen.everything)
            chat.type(f"/reset{ENTER}")
            chat.until(lambda screen, seen=seen: len(screen.everything) > seen and screen.takes_paste)
            chat.type(f"{n}: {PROMPT[: chosen.randrange(900)]} Count to a thousand.{ENTER}")
            time.sleep(chosen.uniform(0.05, 1.5))
            before, sent, at = cpu_seconds(chat.process.pid), time.perf_counter(), len(chat.raw)
            chat.type(ctrl("c"))
            chat.until(lambda _, at=at: b"interrupted" in chat.raw[at:], "an end of the answer")
            found.append(Latency(time.perf_counter() - sent, cpu_seconds(chat.process.pid) - before))
            chat.until_prompt()
        chat.type(ctrl("d"))
        assert chat.finish() == 0
    assert_soon(found)
