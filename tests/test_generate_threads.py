"""Several Python threads on one model: each gets what it would get alone."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_gguf

from pyruntime import Generation, Model, Sampling


@pytest.fixture(autouse=True)
def switch_often() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def test_threads_that_generate_at_once(tmp_path: Path) -> None:
    """Batches, streams, chats with sessions, of samplers with a memory: eight threads, each three times."""
    warm = Sampling(temperature=1.3, seed=3, mirostat=2, dry_multiplier=0.8, repetition_penalty=1.2)
    with Model(tiny_gguf.write(tmp_path / "tiny.gguf", "Q8_0"), threads=2, context=512) as model:

        def batch(seed: int) -> list[Generation]:
            prompts = [tiny_gguf.ids(n, seed=seed).tolist() for n in (3, 200, 40)]
            return model.generate(prompts, max_tokens=15, logprobs=2, sampling=warm)

        def stream(seed: int) -> list[Generation]:
            with model.session() as session:
                session.append(tiny_gguf.ids(50, seed=seed))
                pieces = model.stream(tiny_gguf.ids(80, seed=seed), session=session, max_tokens=20, seed=seed)
                text = "".join(pieces)
                assert text == pieces.result.text
                return [pieces.result]

        def chat(seed: int) -> list[Generation]:
            messages, answers = [], []
            with model.session() as session:
                for turn in range(3):
                    messages.append({"role": "user", "content": f"the {seed} {turn}"})
                    answers.append(model.chat(messages, session=session, max_tokens=10, sampling=warm))
                    messages.append({"role": "assistant", "content": answers[-1].text})
            return answers

        work: list[tuple[Callable[[int], list[Generation]], int]] = [
            (task, seed) for seed in range(3) for task in (batch, stream, chat)
        ]
        found: dict[int, list[list[Generation]]] = {}
        start = threading.Barrier(len(work))

        def run(i: int) -> None:
            start.wait()
            task, seed = work[i]
            found[i] = [task(seed) for _ in range(3)]

        threads = [threading.Thread(target=run, args=(i,)) for i in range(len(work))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == len(work), "a thread failed"
        for i, (task, seed) in enumerate(work):
            alone = said(task(seed))
            assert [said(results) for results in found[i]] == [alone] * 3
        assert model.engine.counters()["pages"] == 0


def said(results: list[Generation]) -> list[object]:
    """All but the timings."""
    return [(r.ids, r.text, r.finish_reason, r.prompt_tokens, r.seed, r.logprobs) for r in results]
