"""Ctrl-C: it arrives within 100 ms wherever it falls, and what was begun stays consistent.

The signal is sent by a thread of the process itself, so that sending and arriving are read from one clock. The median of
five tries counts: the machine may be busy.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny_gguf

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs POSIX signals")

TRIES = 5
LIMIT = 0.1  # seconds

# argv: path, the seconds until each signal. Prints the seconds from each signal to its KeyboardInterrupt, on the clock and
# of CPU time.
COMMON = """
import json, os, signal, sys, threading, time
import numpy as np
from pyruntime import Model

path, delays = sys.argv[1], [float(d) for d in sys.argv[2:]]

def seconds_to_interrupt(work, delay):
    sent = []
    def send():
        sent.extend((time.perf_counter(), time.process_time()))
        os.kill(os.getpid(), signal.SIGINT)
    sender = threading.Timer(delay, send)
    sender.start()
    try:
        while True:
            work()
    except KeyboardInterrupt:
        arrived = time.perf_counter(), time.process_time()
    sender.join()
    return arrived[0] - sent[0], arrived[1] - sent[1]

def assert_goes_on(session):
    # What an interrupted session holds is what a fresh one computes.
    held = session.ids
    more = [*held, 3, 1, 4]
    assert session.append(more[len(held):]).tobytes() == model.logits(more)[-1].tobytes()
    session.rewind(len(held))
"""

PREFILL = """
model = Model(path, threads=2, context=2048)
text = (np.arange(2000, dtype=np.int32) * 7919) % 250
latencies = []
with model.session() as session:
    def work():
        session.rewind(0)
        session.append(text)
    for delay in delays:
        latencies.append(seconds_to_interrupt(work, delay))
        assert session.ids == text[:len(session)].tolist()
        assert len(session) in (0, 512, 1024, 1536, 2000), len(session)
        if len(session) < 1024:  # what the interrupted step had begun must not matter
            assert_goes_on(session)
assert model.engine.counters()["pages"] == 0
print(json.dumps(latencies))
"""

GENERATE = """
model = Model(path, threads=2, context=2048)
prompt = ((np.arange(20) * 7919) % 250).tolist()
latencies = []
options = {"max_tokens": 400, "temperature": 0, "logit_bias": {model.tokenizer.eos_id: float("-inf")}}
with model.session() as session:
    def work():
        global stream
        stream = model.stream(prompt, session=session, **options)
        for _ in stream:
            pass
    for delay in delays:
        latencies.append(seconds_to_interrupt(work, delay))
        assert stream.result.finish_reason in ("interrupted", "length")
        generated = session.ids[len(prompt):]
        assert generated == model.generate(prompt, **options | {"max_tokens": len(generated) or 1}).ids[:len(generated)]
        assert_goes_on(session)
    # And from where it was interrupted, the rest of the same text.
    options["max_tokens"] = 30
    stream = model.stream(prompt, session=session, **options)
    assert "".join(stream) == model.generate(prompt, **options).text
print(json.dumps(latencies))
"""

BATCH = """
model = Model(path, threads=2, context=2048)
prompts = [((np.arange(n) * 7919) % 250).tolist() for n in (5, 700, 30, 900)]
print(json.dumps([seconds_to_interrupt(lambda: model.generate(prompts, max_tokens=50), delay) for delay in delays]))
assert model.engine.counters()["pages"] == 0
"""

LOAD = """
def threads():
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0

before = threads()
latencies = [seconds_to_interrupt(lambda: Model(path, threads=2).close(), delay) for delay in delays]
assert threads() == before  # no worker is left behind
model = Model(path, threads=2)
assert np.isfinite(model.logits([1, 2, 3])).all()
print(json.dumps(latencies))
"""

MEASURE = """
from pyruntime import hardware
print(json.dumps([seconds_to_interrupt(lambda: hardware.measure(2), delay) for delay in delays]))
"""


def latencies(code: str, path: Path, delays: Sequence[float]) -> list[tuple[float, float]]:
    """Of signals so many seconds into the work: seconds on the clock, seconds of CPU time."""
    child = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", COMMON + code, path, *map(str, delays)],
        capture_output=True,
        text=True,
        timeout=60 + 10 * len(delays),
    )
    assert child.returncode == 0, child.stderr
    found = [(wall, cpu) for wall, cpu in json.loads(child.stdout)]
    assert len(found) == len(delays)
    return found


def median(code: str, path: Path, first: float, step: float) -> float:
    """Of the seconds on the clock, of signals first, first + step, ... seconds into the work."""
    walls = [wall for wall, _ in latencies(code, path, [first + i * step for i in range(TRIES)])]
    print("ms:", *(round(1000 * wall) for wall in walls))
    return statistics.median(walls)


@pytest.fixture(scope="module")
def slow_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In scalar code a step of 512 of its tokens takes half a second."""
    return tiny_gguf.write(tmp_path_factory.mktemp("interrupt") / "slow.gguf", "F32")


@pytest.mark.parametrize("code", [PREFILL, GENERATE, BATCH], ids=["prefill", "generate", "batch"])
def test_slow_steps(code: str, slow_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRUNTIME_ISA", "scalar")
    assert median(code, slow_path, 0.13, 0.11) < LIMIT


@pytest.mark.model
@pytest.mark.parametrize("code", [PREFILL, GENERATE, LOAD], ids=["prefill", "generate", "load"])
def test_a_real_model(code: str, model_path: Path) -> None:
    assert median(code, model_path, 0.05, 0.07) < LIMIT


def test_loading_a_small_model(slow_path: Path) -> None:
    """Over before anyone could press a key; nothing is left of it all the same."""
    assert median(LOAD, slow_path, 0.05, 0.01) < LIMIT


def test_measuring_the_machine(slow_path: Path) -> None:
    assert median(MEASURE, slow_path, 0.05, 0.17) < LIMIT


def test_what_a_handler_raises_comes_out(slow_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only KeyboardInterrupt: a server's time limit is a signal that raises."""
    monkeypatch.setenv("PYRUNTIME_ISA", "scalar")
    code = """
class Late(Exception):
    pass
def handler(*_):
    raise Late
signal.signal(signal.SIGALRM, handler)
model = Model(path, threads=2, context=2048)
signal.setitimer(signal.ITIMER_REAL, 0.1)
session = model.session()
try:
    for _ in range(100):
        session.append([1] * 600)
        session.rewind(0)
except Late:
    print("late", len(session) in (0, 512, 600))
"""
    child = subprocess.run([sys.executable, "-c", COMMON + code, slow_path], capture_output=True, text=True, timeout=60)
    assert (child.stdout, child.stderr) == ("late True\n", "")
