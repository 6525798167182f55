"""Sessions: append, fork, rewind, close; what they hold, what they refuse, and that their memory comes back."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_gguf
from numpy.typing import NDArray

from pyruntime import Model, Session
from pyruntime.errors import ContextError
from pyruntime.session import NONE

CONTEXT = 640
N = tiny_gguf.N_VOCAB
IDS = tiny_gguf.ids(CONTEXT)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("session") / "tiny.gguf")


@pytest.fixture(scope="module")
def shared_model(path: Path) -> Model:
    return Model(path, threads=2, context=CONTEXT)


@pytest.fixture
def model(shared_model: Model) -> Iterator[Model]:
    """A model on which this test must leave no page behind."""
    assert pages(shared_model) == 0
    yield shared_model
    assert pages(shared_model) == 0


def pages(model: Model) -> int:
    return model.engine.counters()["pages"]


def assert_equal(a: NDArray[np.float32], b: NDArray[np.float32]) -> None:
    assert a.dtype == b.dtype == np.float32
    assert a.shape == b.shape
    assert a.tobytes() == b.tobytes()


# What comes out


def test_append_returns_the_logits_of_the_last_position(model: Model) -> None:
    with model.session() as session:
        logits = session.append(IDS[:70])
        assert logits.shape == (N,)
        assert_equal(logits, model.logits(IDS[:70])[-1])
        assert session.ids == IDS[:70].tolist()
        assert len(session) == 70


def test_logits_are_of_the_new_positions(model: Model) -> None:
    with model.session() as session:
        session.append(IDS[:10])
        assert_equal(session.logits(IDS[10:90]), model.logits(IDS[:90])[10:])
        assert len(session) == 90


def test_more_tokens_than_a_step_takes(model: Model) -> None:
    n = model.engine.max_tokens + 13
    with model.session() as session:
        assert_equal(session.append(IDS[:n]), model.logits(IDS[:n])[-1])
        assert len(session) == n


def test_logits_of_nothing(model: Model) -> None:
    assert model.logits([]).shape == (0, N)


@pytest.mark.parametrize(
    "given",
    [
        IDS[:9].tolist(),
        tuple(IDS[:9].tolist()),
        IDS[:9].astype(np.int64),
        IDS[:9].astype(np.uint16),
        np.repeat(IDS[:9], 2)[::2],
    ],
    ids=["list", "tuple", "int64", "uint16", "strided"],
)
def test_ids_of_any_kind(model: Model, given: list[int]) -> None:
    assert_equal(model.logits(given), model.logits(IDS[:9]))


def test_ids_at_any_address(model: Model) -> None:
    """NumPy lets int32 begin at any byte; the core reads whole words."""
    ids = np.frombuffer(b"x" + IDS[:9].tobytes(), np.int32, offset=1)
    assert not ids.flags.aligned
    assert_equal(model.logits(ids), model.logits(IDS[:9]))
    with model.session() as session, pytest.raises(ValueError, match="token ids must be aligned"):
        model.engine.step([(session.sequence, ids, NONE)])


def test_ids_from_an_iterator(model: Model) -> None:
    assert_equal(model.logits(iter(IDS[:9].tolist())), model.logits(IDS[:9]))


# Fork, rewind


@pytest.mark.parametrize("at", [1, 63, 64, 65, 130])
def test_rewinding_and_going_on_otherwise_is_as_good_as_new(model: Model, at: int) -> None:
    other = tiny_gguf.ids(20, seed=1)
    with model.session() as session:
        session.append(IDS[:131])
        session.rewind(at)
        assert session.ids == IDS[:at].tolist()
        logits = session.append(other)
        assert session.ids == [*IDS[:at], *other]
    assert_equal(logits, model.logits(np.concatenate([IDS[:at], other]))[-1])


def test_rewind_to_nothing_and_to_the_end(model: Model) -> None:
    with model.session() as session:
        session.append(IDS[:5])
        session.rewind(5)
        assert len(session) == 5
        session.rewind(0)
        assert (len(session), session.ids, pages(model)) == (0, [], 0)
        assert_equal(session.append(IDS[:3]), model.logits(IDS[:3])[-1])


def test_rewind_takes_whole_numbers(model: Model) -> None:
    with model.session() as session:
        session.append(IDS[:5])
        with pytest.raises(TypeError, match=r"^'float' object cannot be interpreted as an integer$"):
            session.rewind(1.5)  # type: ignore[arg-type]
        assert len(session) == 5


@pytest.mark.parametrize("n", [-1, 6, 1 << 40])
def test_rewind_to_where_it_never_was(model: Model, n: int) -> None:
    with model.session() as session:
        session.append(IDS[:5])
        with pytest.raises(ValueError, match=rf"cannot rewind to {n}: the sequence has 5 tokens"):
            session.rewind(n)
        assert len(session) == 5


def test_a_fork_and_its_parent_go_their_own_ways(model: Model) -> None:
    mine, yours = tiny_gguf.ids(80, seed=1), tiny_gguf.ids(80, seed=2)
    with model.session() as parent:
        parent.append(IDS[:70])
        with parent.fork() as child:
            assert child.ids == parent.ids
            for i in range(0, 80, 10):  # in turns
                a, b = parent.append(mine[i : i + 10]), child.append(yours[i : i + 10])
            assert child.ids == [*IDS[:70], *yours]
        assert parent.ids == [*IDS[:70], *mine]
    assert_equal(a, model.logits(np.concatenate([IDS[:70], mine]))[-1])
    assert_equal(b, model.logits(np.concatenate([IDS[:70], yours]))[-1])


def test_a_fork_outlives_its_parent(model: Model) -> None:
    with model.session() as parent:
        parent.append(IDS[:70])
        child = parent.fork()
    with child:
        assert_equal(child.append(IDS[70:80]), model.logits(IDS[:80])[-1])


def test_a_fork_may_be_rewound_into_what_is_shared(model: Model) -> None:
    other = tiny_gguf.ids(5, seed=1)
    with model.session() as parent:
        parent.append(IDS[:128])
        with parent.fork() as child:
            child.rewind(100)
            assert_equal(child.append(other), model.logits(np.concatenate([IDS[:100], other]))[-1])
        assert_equal(parent.append(IDS[128:130]), model.logits(IDS[:130])[-1])


# Memory


def test_pages_are_shared_copied_when_written_and_given_back(model: Model) -> None:
    session = model.session()
    assert pages(model) == 0
    session.append(IDS[:64])
    assert pages(model) == 1
    session.append(IDS[64:65])
    assert pages(model) == 2
    fork = session.fork()
    assert pages(model) == 2  # all shared
    fork.append(IDS[:1])
    assert pages(model) == 3  # the partly filled one was copied
    session.append(IDS[:1])
    assert pages(model) == 3  # its copy is its own already
    twin = fork.fork()
    session.close()
    assert pages(model) == 2
    fork.close()
    assert pages(model) == 2  # the twin holds them
    twin.rewind(64)
    assert pages(model) == 1
    twin.close()
    assert pages(model) == 0


def test_a_full_page_is_shared_for_good(model: Model) -> None:
    with model.session() as session:
        session.append(IDS[:128])
        with session.fork() as fork:
            fork.append(IDS[:1])
            session.append(IDS[:1])
            assert pages(model) == 4  # two shared, one more each


def test_a_session_that_is_dropped_gives_its_pages_back(model: Model) -> None:
    session = model.session()
    session.append(IDS[:5])
    assert pages(model) == 1
    del session
    assert pages(model) == 0


def test_many_sessions(model: Model) -> None:
    sessions = [model.session() for _ in range(200)]
    for i, session in enumerate(sessions):
        session.append(tiny_gguf.ids(3, seed=i))
    assert pages(model) == 200
    for i in (0, 77, 199):
        text = np.concatenate([tiny_gguf.ids(3, seed=i), IDS[:2]])
        assert_equal(sessions[i].append(IDS[:2]), model.logits(text)[-1])
    for session in sessions:
        session.close()


# Refusals leave a session as it was


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([], ValueError, "at least one token"),
        ([0, N], ValueError, rf"token id {N} is outside the vocabulary \(0 to {N - 1}\)"),
        ([0] * 600 + [N], ValueError, rf"token id {N} is outside"),
        ([-1], ValueError, "between 0 and"),
        ([1 << 40], ValueError, "between 0 and"),
        ([1 << 70], TypeError, "whole numbers"),
        ([0.0], TypeError, "whole numbers, not float64"),
        (["a"], TypeError, "whole numbers"),
        ("text", TypeError, "whole numbers"),
        (b"text", TypeError, "whole numbers, not bytes"),
        ([[1, 2]], TypeError, r"flat list.*shape \(1, 2\)"),
        ([True], TypeError, "whole numbers, not bool"),
        ([None], TypeError, "whole numbers"),
    ],
)
def test_what_is_not_a_list_of_token_ids(model: Model, given: list[int], error: type[Exception], message: str) -> None:
    with model.session() as session:
        session.append(IDS[:3])
        with pytest.raises(error, match=message):
            session.append(given)
        assert session.ids == IDS[:3].tolist()
        assert_equal(session.append(IDS[3:5]), model.logits(IDS[:5])[-1])


def test_a_full_context(model: Model) -> None:
    with model.session() as session:
        session.append(IDS[: CONTEXT - 1])
        with pytest.raises(
            ContextError, match=rf"{CONTEXT + 1} tokens do not fit the context of {CONTEXT}; .*larger context"
        ):
            session.append([1, 2])
        assert len(session) == CONTEXT - 1
        last = session.append(IDS[CONTEXT - 1 :])
        assert_equal(last, model.logits(IDS)[-1])
        with pytest.raises(ContextError):
            session.append([1])
        session.rewind(3)
        assert_equal(session.append(IDS[3:5]), model.logits(IDS[:5])[-1])
    with pytest.raises(ContextError):
        model.logits(np.concatenate([IDS, IDS[:1]]))


def test_a_closed_session(model: Model) -> None:
    session = model.session()
    session.append(IDS[:5])
    session.close()
    session.close()
    assert (len(session), session.ids) == (0, [])
    for use in (lambda: session.append([1]), lambda: session.logits([1]), session.fork, lambda: session.rewind(0)):
        with pytest.raises(ValueError, match="this session is closed"):
            use()


def test_a_session_as_a_context_manager_closes_on_an_error(model: Model) -> None:
    session = model.session()
    with pytest.raises(ContextError), session:
        session.append([1] * (CONTEXT + 1))
    with pytest.raises(ValueError, match="closed"):
        session.append([1])


# Models


def test_a_closed_model(path: Path) -> None:
    with Model(path, threads=1) as model:
        session = model.session()
        first = session.append(IDS[:5])
    for use in (model.session, lambda: model.logits([1]), lambda: model.generate("a"), lambda: model.stream("a")):
        with pytest.raises(ValueError, match="this model is closed"):
            use()
    for attribute in ("isa", "threads", "n_vocab", "engine"):
        with pytest.raises(ValueError, match="this model is closed"):
            getattr(model, attribute)
    model.close()
    session.rewind(0)  # a session keeps what it needs
    assert_equal(session.append(IDS[:5]), first)


def test_threads_and_context_are_checked(path: Path) -> None:
    for arguments in ({"threads": 0}, {"threads": 1025}, {"context": 0}, {"context": (1 << 20) + 1}):
        with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be"):
            Model(path, **arguments)
    assert Model(path).context == tiny_gguf.CONTEXT


def test_two_threads_use_one_model(model: Model) -> None:
    """Their steps queue; each finds what it finds alone."""
    found: dict[int, str] = {}

    def talk(seed: int, session: Session) -> None:
        ids = tiny_gguf.ids(300, seed)
        digest = hashlib.sha256()
        for at in range(0, 300, 25):
            digest.update(session.logits(ids[at : at + 25]))
        found[seed] = digest.hexdigest()

    sessions = [model.session() for _ in range(3)]
    threads = [threading.Thread(target=talk, args=(seed, session)) for seed, session in enumerate(sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, session in enumerate(sessions):
        assert found[seed] == hashlib.sha256(model.logits(tiny_gguf.ids(300, seed))).hexdigest()
        session.close()
