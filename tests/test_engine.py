"""The engine below sessions: batches, what a failed step leaves behind, threads, forked processes, signal handlers."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_gguf
from numpy.typing import NDArray

from pyruntime import Model, Sampling, Session
from pyruntime.errors import ContextError, MemoryLimitError, NumericsError
from pyruntime.memory_plan import MemoryPlan
from pyruntime.session import ALL, LAST, NONE

N = tiny_gguf.N_VOCAB
IDS = tiny_gguf.ids(600)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("engine") / "tiny.gguf")


@pytest.fixture(scope="module")
def shared_model(path: Path) -> Model:
    return Model(path, threads=2, context=600)


@pytest.fixture
def model(shared_model: Model) -> Iterator[Model]:
    yield shared_model
    assert shared_model.engine.counters()["pages"] == 0


def expected(model: Model, ids: NDArray[np.int32]) -> bytes:
    return model.logits(ids)[-1].tobytes()


def in_child(code: str, path: Path) -> str:
    """What a Python process with this code prints. It must end within a minute, by itself."""
    child = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code, path], capture_output=True, text=True, timeout=60
    )
    assert child.returncode == 0, child.stderr
    return child.stdout


# Batches


def test_logits_come_in_the_order_of_the_pieces(model: Model) -> None:
    with model.session() as a, model.session() as b, model.session() as c, model.session() as d:
        logits = model.engine.step(
            [
                (a.sequence, IDS[:3], LAST),
                (b.sequence, IDS[5:11], NONE),
                (c.sequence, IDS[20:22], ALL),
                (d.sequence, IDS[30:34], LAST),
            ]
        )
        assert logits.shape == (4, N)
        assert logits[0].tobytes() == expected(model, IDS[:3])
        assert logits[1:3].tobytes() == model.logits(IDS[20:22]).tobytes()
        assert logits[3].tobytes() == expected(model, IDS[30:34])
        assert b.ids == IDS[5:11].tolist()
        assert b.append(IDS[11:12]).tobytes() == expected(model, IDS[5:12])


def test_a_step_without_logits(model: Model) -> None:
    with model.session() as session:
        assert model.engine.step([(session.sequence, IDS[:3], NONE)]).shape == (0, N)


def test_the_largest_step(model: Model) -> None:
    """One token of each of 512 sequences, and no more than 512."""
    sessions = [model.session() for _ in range(model.engine.max_tokens + 1)]
    pieces = [(s.sequence, IDS[i : i + 1], LAST if i % 100 == 7 else NONE) for i, s in enumerate(sessions)]
    with pytest.raises(ValueError, match="a step takes 1 to 512 tokens, not 513"):
        model.engine.step(pieces)
    logits = model.engine.step(pieces[:-1])
    for row, i in enumerate(range(7, 512, 100)):
        assert logits[row].tobytes() == expected(model, IDS[i : i + 1])
    for session in sessions:
        session.close()


def test_logits_into_an_array_of_the_caller(model: Model) -> None:
    out = np.full((3, N), np.nan, np.float32)
    with model.session() as session:
        assert model.engine.step([(session.sequence, IDS[:2], ALL)], out[1:]) is not None
    assert np.isnan(out[0]).all()
    assert out[1:].tobytes() == model.logits(IDS[:2]).tobytes()


@pytest.mark.parametrize(
    "out",
    [
        np.empty((2, N), np.float32),
        np.empty((1, N - 1), np.float32),
        np.empty(N, np.float32),
        np.empty((1, N)),
        np.empty((1, 2 * N), np.float32)[:, ::2],
    ],
    ids=["rows", "columns", "flat", "float64", "strided"],
)
def test_an_array_that_logits_do_not_fit(model: Model, out: NDArray[Any]) -> None:
    with model.session() as session:
        with pytest.raises((ValueError, TypeError)):
            model.engine.step([(session.sequence, IDS[:1], LAST)], out)
        assert len(session) == 0


def test_an_array_that_is_read_only(model: Model) -> None:
    out = np.empty((1, N), np.float32)
    out.flags.writeable = False
    with model.session() as session, pytest.raises(ValueError, match="writeable"):
        model.engine.step([(session.sequence, IDS[:1], LAST)], out)


# A step that fails leaves every sequence as it was, and no page behind


def refuse(session: Session, other: Session, pieces: Callable[[], Any], error: type[Exception], message: str) -> None:
    engine, before = session._engine, session._engine.counters()
    with pytest.raises(error, match=message):
        engine.step(pieces())
    assert (len(session), len(other)) == (70, 3)
    after = engine.counters()
    assert {key: after[key] for key in ("steps", "tokens", "pages")} == {
        key: before[key] for key in ("steps", "tokens", "pages")
    }


def test_pieces_that_are_refused(path: Path, model: Model) -> None:
    fine = IDS[:60]
    with model.session() as a, model.session() as b, Model(path, threads=1) as stranger, model.session() as closed:
        a.append(IDS[:70])
        b.append(IDS[:3])
        closed.close()
        for pieces, error, message in [
            ([], ValueError, "a step takes 1 to 512 tokens, not 0"),
            ([(a.sequence, fine, LAST), (a.sequence, fine, LAST)], ValueError, "a sequence appears twice in a step"),
            ([(a.sequence, fine, LAST), (b.sequence, fine[:0], LAST)], ValueError, "at least one token of each"),
            (
                [(a.sequence, fine, LAST), (b.sequence, [5, N], LAST)],
                ValueError,
                rf"token id {N} at index 1 is outside 0..{N - 1}",
            ),
            ([(a.sequence, fine, LAST), (b.sequence, [-1], LAST)], ValueError, "token id -1 at index 0"),
            ([(a.sequence, fine, LAST), (b.sequence, [[1, 2]], LAST)], ValueError, "one-dimensional"),
            ([(a.sequence, fine, LAST), (b.sequence, fine, 3)], ValueError, "want must be 0"),
            (
                [(a.sequence, fine, LAST), (stranger.session().sequence, fine, LAST)],
                ValueError,
                "a session of another model",
            ),
            ([(a.sequence, fine, LAST), (closed.sequence, fine, LAST)], ValueError, "this session is closed"),
            ([(b.sequence, fine, LAST), (a.sequence, np.tile(fine, 9)[:500], LAST)], ValueError, "not 560"),
        ]:
            refuse(a, b, lambda pieces=pieces: pieces, error, message)
        b.append(fine[:10])
        a.append(IDS[70:580])
        with pytest.raises(ContextError, match="601 tokens do not fit the context of 600"):
            model.engine.step([(b.sequence, fine, LAST), (a.sequence, fine[:21], LAST)])
        assert (len(a), len(b)) == (580, 13)


def test_memory_that_ends_in_the_middle_of_a_step(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Model(path, threads=1, context=600) as roomy:
        at_14, at_100 = expected(roomy, IDS[:14]), expected(roomy, IDS[:100])
        page = roomy.engine.counters()["page_bytes"]
    monkeypatch.setattr(MemoryPlan, "kv_limit", 3 * page)
    with Model(path, threads=2, context=128) as model, model.session() as a, model.session() as b:
        pages = model.engine.counters
        a.append(IDS[:10])
        b.append(IDS[10:30])
        with pytest.raises(MemoryLimitError, match=r"the KV cache is full: \d pages, .* MB of .* MB; close or rewind"):
            model.engine.step([(a.sequence, IDS[:100], NONE), (b.sequence, IDS[:100], NONE)])
        assert (len(a), len(b), pages()["pages"]) == (10, 20, 2)
        with a.fork() as fork:  # its first page would have to be copied
            a.append(IDS[10:12])
            with pytest.raises(MemoryLimitError):
                fork.append(IDS[:100])
            assert (len(fork), pages()["pages"]) == (10, 3)
        assert a.append(IDS[12:14]).tobytes() == at_14
        b.close()
        assert a.append(IDS[14:100]).tobytes() == at_100


def test_a_draw_that_fails_takes_the_step_back(model: Model) -> None:
    nothing_left = Sampling(logit_bias=dict.fromkeys(range(N), float("-inf"))).sampler(N)
    greedy = Sampling(temperature=0).sampler(N)
    with model.session() as a, model.session() as b:
        a.append(IDS[:70])
        b.append(IDS[:3])
        with pytest.raises(NumericsError, match="no token is left to draw"):
            model.engine.step_and_sample([(a.sequence, IDS[70:75], greedy, 0), (b.sequence, IDS[:70], nothing_left, 0)])
        assert (len(a), len(b), model.engine.counters()["pages"]) == (70, 3, 3)
        drawn = model.engine.step_and_sample([(a.sequence, IDS[70:75], None, 0), (b.sequence, IDS[3:5], greedy, 0)])
        assert drawn == [([], [], ""), ([int(model.logits(IDS[:5])[-1].argmax())], [], "")]
        assert a.append(IDS[75:76]).tobytes() == expected(model, IDS[:76])


def test_a_sampler_of_another_vocabulary(model: Model) -> None:
    with model.session() as session, pytest.raises(ValueError, match=f"a sampler of 7 tokens, where the model has {N}"):
        model.engine.step_and_sample([(session.sequence, IDS[:1], Sampling().sampler(7), 0)])


# Threads


def test_more_threads_than_cores(path: Path, model: Model) -> None:
    with Model(path, threads=9) as crowded:
        assert crowded.logits(IDS[:40]).tobytes() == model.logits(IDS[:40]).tobytes()
        assert len(crowded.engine.items_by_thread()) == 9


def test_a_system_that_gives_too_few_threads(path: Path) -> None:
    pytest.importorskip("resource", reason="limits of a process are POSIX's")
    code = """
import resource, sys
from pyruntime import Model
from pyruntime.errors import PyruntimeError
resource.setrlimit(resource.RLIMIT_AS, (1 << 31, resource.RLIM_INFINITY))  # 1,000 stacks need more
try:
    Model(sys.argv[1], threads=1000)
except PyruntimeError as error:
    print(error)
"""
    said = in_child(code, path)
    assert "threads of 1000" in said
    assert said.endswith("load the model with fewer threads\n")


@pytest.fixture
def slow_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of which a step of 512 tokens takes at least a tenth of a second in scalar code, so that it asks for signals."""
    monkeypatch.setenv("PYRUNTIME_ISA", "scalar")
    return tiny_gguf.write(tmp_path / "slow.gguf", "F32")


# Long steps on one thread, while this one does what needs the engine or drops what it holds.
BUSY = """
import gc, os, signal, sys, threading, time
import numpy as np
from pyruntime import Model
from pyruntime.errors import PyruntimeError

model = Model(sys.argv[1], threads=2, context=1024)
ids = np.arange(512, dtype=np.int32) % 250
begun = time.perf_counter()
expected = model.logits(ids)[-1].tobytes()
soon = (time.perf_counter() - begun) / 4  # a quarter into a step
dropped = model.session()
dropped.append([1, 2, 3])

def work():
    with model.session() as session:
        found.append(session.append(ids).tobytes())

found = []
worker = threading.Thread(target=work)

def begin():
    worker.start()
    time.sleep(soon)

def end():
    worker.join()
    assert found == [expected], found
"""


@pytest.mark.parametrize(
    "use",
    [
        "model.engine.counters()",
        "model.engine.items_by_thread()",
        "dropped.close()",
        "dropped.fork()",
        "dropped.rewind(1)",
        "dropped.append([1])",
        "dropped.ids; len(dropped)",
        "model.close()",
    ],
)
def test_using_a_model_that_another_thread_is_busy_with(slow_path: Path, use: str) -> None:
    """The step asks for the interpreter's lock now and then; nobody may hold that and wait for the step."""
    in_child(f"{BUSY}\nbegin()\n{use}\nend()\nprint('done')", slow_path)


def test_closing_the_session_that_another_thread_is_busy_with(slow_path: Path) -> None:
    code = """
busy = model.session()
def work():
    found.append(busy.append(ids).tobytes())
worker = threading.Thread(target=work)
begin()
busy.close()
third = threading.Thread(target=lambda: model.logits(ids))  # begins when the step ends, which is when the closed session goes
third.start()
end()
third.join()
dropped.close()
assert model.engine.counters()["pages"] == 0
"""
    in_child(BUSY + code, slow_path)


def test_a_signal_handler_in_the_middle_of_a_step(slow_path: Path) -> None:
    """It may drop sessions (the garbage collector does, whenever it likes); what would wait for the step is refused."""
    code = """
refused = []

def handler(*_):
    global dropped
    for use in (lambda: model.logits([1]), lambda: dropped.fork(), lambda: dropped.rewind(0), model.engine.counters):
        try:
            use()
        except PyruntimeError as error:
            refused.append(str(error))
    dropped = None
    cycle = [model.session()]
    cycle.append(cycle)
    del cycle
    gc.collect()

signal.signal(signal.SIGUSR1, handler)
threading.Timer(soon, os.kill, (os.getpid(), signal.SIGUSR1)).start()
assert model.logits(ids)[-1].tobytes() == expected
assert len(refused) == 4, refused
assert model.engine.counters()["pages"] == 0
print(refused[0])
"""
    assert "in the middle of a step on this thread" in in_child(BUSY + code, slow_path)


# Forked processes

FORK = """
read, write = os.pipe()
child = os.fork()
if child == 0:
    try:
        model.logits([1])
    except PyruntimeError as error:
        os.write(write, str(error).encode())
    try:
        dropped.rewind(0)
    except PyruntimeError:
        os.write(write, b"; again")
    del dropped, model  # its threads are not there to be joined
    gc.collect()
    fresh = Model(sys.argv[1], threads=2, context=1024)
    assert fresh.logits(ids)[-1].tobytes() == expected
    os.write(write, b"; fresh")
    sys.exit(0)
os.close(write)
said = b""
while part := os.read(read, 1000):
    said += part
assert os.waitpid(child, 0)[1] == 0
print(said.decode())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("busy", [False, True])
def test_a_forked_child_is_told_to_load_the_model_itself(slow_path: Path, busy: bool) -> None:
    code = BUSY.replace("import gc", "import warnings; warnings.simplefilter('ignore')\nimport gc")
    said = in_child(code + ("begin()" if busy else "") + FORK + ("end()" if busy else ""), slow_path)
    assert "loaded before a fork" in said
    assert "load it there; again; fresh" in said


def test_an_array_of_ids_that_changes_meanwhile(model: Model) -> None:
    """Ids are checked as they are taken: another thread that writes to the array cannot slip one past the check."""
    ids, stop = IDS[:512].copy(), threading.Event()

    def spoil() -> None:
        while not stop.is_set():
            ids[:] = 1 << 30
            ids[:] = 5

    spoiler = threading.Thread(target=spoil)
    spoiler.start()
    try:
        for _ in range(20):
            with contextlib.suppress(ValueError):
                model.logits(ids)
    finally:
        stop.set()
        spoiler.join()
