"""Log probabilities in generation: of each token that came out, however it was asked for and wherever it ended."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import tiny_gguf
from sampling_oracle import logprobs

from pyruntime import Generation, Model, Sampling, TokenLogprob

PROMPT = "the hand in the "
WARM = Sampling(temperature=1.4, top_k=50, repetition_penalty=1.3, logit_bias={260: 3.0}, seed=5)


@pytest.fixture(scope="module")
def shared_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model(tiny_gguf.write(tmp_path_factory.mktemp("logprobs") / "tiny.gguf", "Q8_0"), threads=1)


@pytest.fixture
def model(shared_model: Model) -> Iterator[Model]:
    yield shared_model
    assert shared_model.engine.counters()["pages"] == 0


def expected(model: Model, prompt: list[int], result: Generation, k: int) -> list[TokenLogprob]:
    """From the logits of the whole text."""
    rows = model.logits([*prompt, *result.ids])[len(prompt) - 1 :]
    entries = []
    for token, row in zip(result.ids, rows, strict=False):
        of = logprobs(row)
        top = np.lexsort((np.arange(len(row)), -row))[:k]
        entries.append(TokenLogprob(token, of[token], [(int(i), of[i]) for i in top]))
    return entries


@pytest.mark.parametrize("k", [0, 1, 5, 1024])
@pytest.mark.parametrize("sampling", [Sampling(temperature=0), WARM], ids=["greedy", "sampled"])
def test_they_are_those_of_the_models_logits(model: Model, k: int, sampling: Sampling) -> None:
    """Whatever penalties and temperature made of them."""
    result = model.generate(PROMPT, max_tokens=20, logprobs=k, sampling=sampling)
    assert result.logprobs == expected(model, model.tokenizer.encode(PROMPT), result, k)
    assert result.ids == model.generate(PROMPT, max_tokens=20, sampling=sampling).ids
    assert all(entry.logprob < 0 for entry in result.logprobs or [])


def test_probabilities_sum_to_one(model: Model) -> None:
    result = model.generate(PROMPT, max_tokens=3, logprobs=tiny_gguf.N_VOCAB, temperature=0)
    assert result.logprobs is not None
    for entry in result.logprobs:
        assert sum(math.exp(logprob) for _, logprob in entry.top) == pytest.approx(1, abs=1e-6)
        assert entry.top[0] == (entry.id, entry.logprob)


def test_none_without_asking(model: Model) -> None:
    assert model.generate(PROMPT, max_tokens=2).logprobs is None


def test_several_prompts(model: Model) -> None:
    prompts = [tiny_gguf.ids(n, seed=n).tolist() for n in (1, 600, 64)]
    for prompt, result in zip(prompts, model.generate(prompts, max_tokens=6, logprobs=3, sampling=WARM), strict=True):
        assert result.logprobs == expected(model, prompt, result, 3)


def test_streams(model: Model) -> None:
    """What has come so far, and of a session that holds a part of the prompt."""
    prompt = tiny_gguf.ids(40).tolist()
    with model.session() as session:
        session.append(prompt[:30])
        stream = model.stream(prompt, session=session, max_tokens=9, logprobs=2, sampling=WARM)
        assert stream.result.logprobs == []
        for _ in stream:
            assert stream.result.logprobs is not None
            assert [entry.id for entry in stream.result.logprobs] == stream.result.ids
    assert len(stream.result.ids) == 9
    assert stream.result.logprobs == expected(model, prompt, stream.result, 2)


def test_a_stop_string(model: Model) -> None:
    full = model.generate(PROMPT, max_tokens=25, temperature=0)
    result = model.generate(PROMPT, max_tokens=25, temperature=0, logprobs=1, stop=[full.text[8:11]])
    assert result.finish_reason == "stop"
    assert 0 < len(result.ids) < 25
    assert result.logprobs == expected(model, model.tokenizer.encode(PROMPT), result, 1)


def test_the_end_token_has_no_entry(model: Model) -> None:
    result = model.generate(PROMPT, logprobs=1, temperature=0, logit_bias={tiny_gguf.END: 1e6})
    assert (result.ids, result.logprobs) == ([], [])


def test_chat(model: Model) -> None:
    messages = [{"role": "user", "content": "that"}]
    assert model.chat_template is not None
    prompt = model.chat_template.encode(model.tokenizer, messages)
    result = model.chat(messages, max_tokens=5, logprobs=2, temperature=0)
    assert result.logprobs == expected(model, prompt, result, 2)


def test_refusals(model: Model) -> None:
    for wrong in (-1, 1025):
        with pytest.raises(ValueError, match=f"logprobs must be between 0 and 1024, or None, not {wrong}"):
            model.generate(PROMPT, logprobs=wrong)
    with pytest.raises(TypeError):
        model.stream(PROMPT, logprobs=1.5)  # type: ignore[arg-type]
