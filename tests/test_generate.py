"""Generation: what a naive loop over logits gives, for every way to ask for it; where it ends, and what is left afterwards."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import pytest
import tiny_gguf

from pyruntime import Model, Sampling
from pyruntime.errors import ContextError, GGUFError, NumericsError, UnsupportedError

CONTEXT = 1024
PROMPT = "the hand in the "
END = tiny_gguf.END
GREEDY = Sampling(temperature=0)
WARM = Sampling(temperature=1.2, top_k=50, top_p=0.98, min_p=0.001, repetition_penalty=1.3, penalty_last_n=9, seed=5)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("generate") / "tiny.gguf", "Q8_0")


@pytest.fixture(scope="module")
def shared_model(path: Path) -> Model:
    return Model(path, threads=1, context=CONTEXT)


@pytest.fixture
def model(shared_model: Model) -> Iterator[Model]:
    """A model on which this test must leave no page behind."""
    yield shared_model
    assert shared_model.engine.counters()["pages"] == 0


def naive(model: Model, prompt: list[int], n: int, sampling: Sampling = GREEDY, stream: int = 0) -> list[int]:
    """n tokens at most, by logits of the whole text for each of them, and a sampler told the whole text anew."""
    text = list(prompt)
    for _ in range(n):
        sampler = sampling.sampler(model.n_vocab, stream)
        sampler.accept_all(text)
        logits = model.logits(text)[-1]
        token = sampler.sample(logits, len(text)) if sampling.temperature else int(logits.argmax())
        if token == END:
            break
        text.append(token)
    return text[len(prompt) :]


def ids(text: str, model: Model) -> list[int]:
    return model.tokenizer.encode(text, parse_special=True)


# What comes out


def test_greedy_is_a_loop_of_argmax(model: Model) -> None:
    result = model.generate(PROMPT, max_tokens=40, sampling=GREEDY)
    prompt = ids(PROMPT, model)
    assert result.ids == naive(model, prompt, 40)
    assert len(set(result.ids)) > 5, "the tiny model should not be stuck, or this tests little"
    assert result.text == model.tokenizer.decode(result.ids)
    assert (result.finish_reason, result.prompt_tokens) == ("length", len(prompt))


def test_sampling_is_a_loop_of_the_sampler(model: Model) -> None:
    result = model.generate(PROMPT, max_tokens=40, sampling=WARM)
    assert result.ids == naive(model, ids(PROMPT, model), 40, WARM)
    assert result.ids != model.generate(PROMPT, max_tokens=40, sampling=GREEDY).ids
    assert result.seed == 5


def test_options_are_fields_of_sampling(model: Model) -> None:
    by_options = model.generate(PROMPT, max_tokens=9, temperature=1.2, seed=7)
    assert by_options.ids == model.generate(PROMPT, max_tokens=9, sampling=Sampling(temperature=1.2, seed=7)).ids


def test_text_and_its_ids_are_the_same_prompt(model: Model) -> None:
    text = "<|start|>user\nthat<|end|>"
    given = ids(text, model)
    assert given[0] == model.tokenizer.bos_id
    results = [
        model.generate(p, max_tokens=9, sampling=GREEDY).ids for p in (text, given, np.array(given), tuple(given))
    ]
    results.append(model.generate(list(np.array(given)), max_tokens=9, sampling=GREEDY).ids)
    assert all(r == results[0] for r in results)


@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "sampled"])
def test_a_list_of_prompts_is_each_of_them_alone(model: Model, sampling: Sampling) -> None:
    """Prompts from one token to more than a step takes, more than a step together."""
    prompts = [tiny_gguf.ids(n, seed=n).tolist() for n in (1, 30, 700, 64, 511)]
    before = model.engine.counters()
    results = model.generate(prompts, max_tokens=8, sampling=sampling)
    after = model.engine.counters()
    assert after["steps"] - before["steps"] < 8 + 4, "they must have shared steps"
    for i, (prompt, result) in enumerate(zip(prompts, results, strict=True)):
        assert result.ids == naive(model, prompt, 8, sampling, stream=i), f"prompt {i}"
        assert result.prompt_tokens == len(prompt)


def test_equal_prompts_of_a_list_draw_from_streams_of_their_own(model: Model) -> None:
    results = model.generate([PROMPT] * 4, max_tokens=20, sampling=WARM)
    assert results[0].ids == model.generate(PROMPT, max_tokens=20, sampling=WARM).ids
    assert len({tuple(r.ids) for r in results}) == 4


def test_prompts_that_end_at_different_times(model: Model) -> None:
    alone = [model.generate(p, max_tokens=30, stop=["e"], sampling=GREEDY) for p in (PROMPT, "as", "re on", "ng")]
    together = model.generate([PROMPT, "as", "re on", "ng"], max_tokens=30, stop=["e"], sampling=GREEDY)
    assert [(r.text, r.ids, r.finish_reason) for r in together] == [(r.text, r.ids, r.finish_reason) for r in alone]
    assert len({len(r.ids) for r in alone}) > 1


def test_a_seed_is_drawn_reported_and_reproduces(model: Model) -> None:
    first, second = (model.generate(PROMPT, max_tokens=20, temperature=1.5) for _ in range(2))
    assert first.seed != second.seed
    assert model.generate(PROMPT, max_tokens=20, temperature=1.5, seed=first.seed).ids == first.ids
    assert first.ids != second.ids


def test_no_prompts(model: Model) -> None:
    assert model.generate([]) == []


# Where it ends


@pytest.mark.parametrize("n", [1, 2, 7])
def test_max_tokens(model: Model, n: int) -> None:
    result = model.generate(PROMPT, max_tokens=n, sampling=GREEDY)
    assert (len(result.ids), result.finish_reason) == (n, "length")
    assert result.timings["generate_tokens"] == n


def test_the_end_token_ends_and_is_not_in_the_result(model: Model) -> None:
    result = model.generate(PROMPT, temperature=0, logit_bias={END: 1e6})
    assert (result.ids, result.text, result.finish_reason) == ([], "", "stop")
    sampled = next(
        r
        for seed in range(50)
        if (r := model.generate(PROMPT, max_tokens=40, seed=seed, temperature=2, logit_bias={END: 4})).ids
        and r.finish_reason == "stop"
    )
    assert END not in sampled.ids
    assert sampled.text == model.tokenizer.decode(sampled.ids, skip_special=True)


def test_the_end_of_the_context(path: Path) -> None:
    """Without max_tokens a text goes on until nothing more fits; the last token drawn need not be computed."""
    with Model(path, threads=1, context=64) as model:
        prompt = tiny_gguf.ids(50).tolist()
        result = model.generate(prompt, temperature=0, logit_bias={END: float("-inf")})
        assert (len(result.ids), result.finish_reason) == (14, "length")
        assert (
            model.generate(tiny_gguf.ids(63), max_tokens=5, logit_bias={END: float("-inf")}).finish_reason == "length"
        )
        for ask in (model.generate, model.stream):
            with pytest.raises(
                ContextError, match=r"the prompt has 64 tokens and the context 64, one of them for the answer; .*larger"
            ):
                ask(tiny_gguf.ids(64))
        with pytest.raises(ContextError), model.session() as session:
            model.stream(tiny_gguf.ids(64), session=session)
        assert model.engine.counters()["pages"] == 0


def pieces_of(model: Model, **options: object) -> tuple[list[str], str, list[int], str]:
    stream = model.stream(PROMPT, sampling=GREEDY, **options)  # type: ignore[arg-type]
    pieces = list(stream)
    return pieces, stream.result.text, stream.result.ids, stream.result.finish_reason


def test_stop_strings(model: Model) -> None:
    """At every place, of one to five characters, whatever tokens they are split over."""
    full = model.generate(PROMPT, max_tokens=25, sampling=GREEDY)
    decoder = model.tokenizer.stream_decoder()
    borders = list(accumulate(len(decoder.push(i)) for i in full.ids))
    split = 0
    for at in range(0, len(full.text) - 5, 2):
        for n in (1, 2, 5):
            stop = full.text[at : at + n]
            first = full.text.find(stop)
            pieces, text, generated, reason = pieces_of(model, max_tokens=25, stop=["never", stop])
            assert text == "".join(pieces) == full.text[:first]
            assert reason == "stop"
            assert "" not in pieces
            assert generated == full.ids[: len(generated)]
            assert borders[len(generated) - 1] >= first + n, "it goes on until the stop string is whole ..."
            assert len(generated) < 2 or borders[len(generated) - 2] < first + n, "... and not a token longer"
            split += any(first < border < first + n for border in borders)
    assert split > 5


def test_the_earliest_of_several_stop_strings(model: Model) -> None:
    full = model.generate(PROMPT, max_tokens=25, sampling=GREEDY).text
    early, late = full[4:6], full[9:12]
    assert pieces_of(model, max_tokens=25, stop=[late, early])[1] == full[: min(full.find(early), full.find(late))]


def test_text_that_only_begins_a_stop_string_is_not_lost(model: Model) -> None:
    full = model.generate(PROMPT, max_tokens=25, sampling=GREEDY)
    for at in range(1, len(full.text)):
        pieces, text, generated, reason = pieces_of(model, max_tokens=25, stop=[full.text[at : at + 3] + "\0\0"])
        assert (text, generated, reason) == (full.text, full.ids, "length")
        assert "".join(pieces) == full.text


def test_nothing_of_a_stop_string_is_shown_before_it_is_certain(model: Model) -> None:
    full = model.generate(PROMPT, max_tokens=25, sampling=GREEDY).text
    stop = full[10:18]
    shown = ""
    for piece in model.stream(PROMPT, max_tokens=25, stop=[stop], sampling=GREEDY):
        shown += piece
        assert not any(
            shown.endswith(stop[:n]) for n in range(1, len(stop)) if not full[: full.find(stop)].endswith(stop[:n])
        )
    assert shown == full[: full.find(stop)]


# Streams


def test_pieces_are_the_text(model: Model) -> None:
    stream = model.stream(PROMPT, max_tokens=30, sampling=WARM)
    pieces = list(stream)
    assert "".join(pieces) == stream.result.text == model.generate(PROMPT, max_tokens=30, sampling=WARM).text
    assert len(pieces) > 10
    assert list(stream) == []


def test_a_result_may_be_read_at_any_time(model: Model) -> None:
    stream = model.stream(PROMPT, max_tokens=30, sampling=GREEDY)
    assert (stream.result.text, stream.result.ids, stream.result.finish_reason) == ("", [], "interrupted")
    shown = ""
    for piece in stream:
        shown += piece
        assert stream.result.text == shown
    assert stream.result.finish_reason == "length"


@pytest.mark.parametrize("n", [0, 1, 5])
def test_closing_a_stream(model: Model, n: int) -> None:
    stream = model.stream(PROMPT, max_tokens=30, sampling=GREEDY)
    pieces = [next(stream) for _ in range(n)]
    stream.close()
    stream.close()
    assert stream.result.finish_reason == "interrupted"
    assert stream.result.text.startswith("".join(pieces))
    assert list(stream) == []
    assert model.engine.counters()["pages"] == 0


def test_a_stream_that_is_dropped(model: Model) -> None:
    for _ in zip(model.stream(PROMPT, max_tokens=30), range(3), strict=False):
        pass
    assert model.engine.counters()["pages"] == 0


# Sessions


def test_a_session_computes_new_tokens_alone(model: Model) -> None:
    text = tiny_gguf.ids(300).tolist()
    with model.session() as session:
        before = 0
        for n in (100, 180, 181, 300):
            stream = model.stream(text[:n], session=session, max_tokens=6, sampling=GREEDY)
            list(stream)
            result = stream.result
            assert result.ids == naive(model, text[:n], 6)
            assert result.prompt_tokens == n
            cached, prefilled = result.timings["cached_tokens"], result.timings["prefill_tokens"]
            assert (cached, prefilled) == (before, n - before)
            assert session.ids == text[:n] + result.ids[:-1]  # the last one drawn was not needed
            before = n


def test_a_session_that_holds_the_whole_prompt(model: Model) -> None:
    """The last token is computed again, for its logits."""
    text = tiny_gguf.ids(70).tolist()
    with model.session() as session:
        session.append(tiny_gguf.ids(90))
        stream = model.stream(text, session=session, max_tokens=3, sampling=GREEDY)
        list(stream)
        assert stream.result.ids == naive(model, text, 3)
        assert (stream.result.timings["cached_tokens"], stream.result.timings["prefill_tokens"]) == (69, 1)


def test_a_session_that_holds_something_else(model: Model) -> None:
    with model.session() as session:
        session.append(tiny_gguf.ids(90, seed=1))
        stream = model.stream(PROMPT, session=session, max_tokens=3, sampling=WARM)
        list(stream)
        assert stream.result.ids == naive(model, ids(PROMPT, model), 3, WARM)
        assert stream.result.timings["cached_tokens"] == 0


def test_penalties_see_cached_tokens(model: Model) -> None:
    text = tiny_gguf.ids(40).tolist()
    penalties = Sampling(temperature=0, repetition_penalty=3, presence_penalty=1, penalty_last_n=-1)
    with model.session() as session:
        session.append(text[:39])
        stream = model.stream(text, session=session, max_tokens=10, sampling=penalties)
        list(stream)
    assert stream.result.ids == model.generate(text, max_tokens=10, sampling=penalties).ids
    assert stream.result.ids != model.generate(text, max_tokens=10, sampling=GREEDY).ids


def test_a_closed_stream_leaves_its_session_usable(model: Model) -> None:
    with model.session() as session:
        stream = model.stream(PROMPT, session=session, max_tokens=30, sampling=GREEDY)
        for _ in range(4):
            next(stream)
        stream.close()
        held = session.ids
        assert held == ids(PROMPT, model) + stream.result.ids[: len(held) - stream.result.prompt_tokens]
        assert session.append([7]).tobytes() == model.logits([*held, 7])[-1].tobytes()


# Chat


def test_chat_is_the_template_and_generate(model: Model) -> None:
    template = model.chat_template
    assert template is not None
    messages = [{"role": "user", "content": "the <|end|> and in"}]
    prompt = template.encode(model.tokenizer, messages)
    assert prompt.count(END) == 1, "the one in the message stays text"
    answer = model.chat(messages, max_tokens=12, sampling=GREEDY)
    assert answer.ids == naive(model, prompt, 12)
    assert "".join(model.stream_chat(messages, max_tokens=12, sampling=GREEDY)) == answer.text


def test_a_turn_of_a_chat_computes_its_new_tokens(model: Model) -> None:
    messages = [{"role": "user", "content": "that he"}]
    lengths = [0]
    with model.session() as session:
        for turn in range(3):
            answer = model.chat(messages, session=session, max_tokens=12, sampling=GREEDY)
            assert answer.ids == model.chat(messages, max_tokens=12, sampling=GREEDY).ids
            lengths.append(answer.prompt_tokens)
            assert answer.timings["cached_tokens"] >= lengths[turn]
            messages += [{"role": "assistant", "content": answer.text}, {"role": "user", "content": "er on"}]
    assert all(a < b for a, b in pairwise(lengths))


def test_a_model_without_a_template(tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / "base.gguf", metadata={"tokenizer.chat_template": None})
    with (
        Model(path, threads=1) as model,
        pytest.raises(UnsupportedError, match=r"base\.gguf: a base model without a chat"),
    ):
        model.chat([{"role": "user", "content": "a"}])


# Refusals


@pytest.mark.parametrize(
    ("prompt", "options", "error", "message"),
    [
        ("", {}, ValueError, "the prompt is empty"),
        ([[]], {}, ValueError, "the prompt is empty"),
        ([5, tiny_gguf.N_VOCAB], {}, ValueError, f"token id {tiny_gguf.N_VOCAB} at index 1 is outside"),
        ([[5], [-1]], {}, ValueError, "token ids must be between 0"),
        ([0.5], {}, TypeError, None),
        (None, {}, TypeError, None),
        (b"bytes", {}, TypeError, "whole numbers, not bytes"),
        ("a", {"max_tokens": 0}, ValueError, "max_tokens must be at least 1, not 0"),
        ("a", {"max_tokens": 1.5}, TypeError, "'float' object cannot be interpreted as an integer"),
        ("a", {"stop": "text"}, ValueError, "stop must be a list of strings"),
        ("a", {"stop": ["x", ""]}, ValueError, "stop must be a list of strings that are not empty"),
        ("a", {"temperature": -1}, ValueError, "temperature"),
        ("a", {"temprature": 1}, TypeError, "temprature"),
        ("a", {"sampling": 1}, TypeError, "sampling must be a Sampling, not int"),
        ("a", {"logit_bias": dict.fromkeys(range(tiny_gguf.N_VOCAB), float("-inf"))}, NumericsError, "no token is left to draw"),
        (["a", "b", [1] * CONTEXT], {}, ContextError, f"the prompt has {CONTEXT} tokens"),
    ],
)  # fmt: skip
def test_what_is_refused(
    model: Model, prompt: object, options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        model.generate(prompt, **options)  # type: ignore[call-overload]
    with pytest.raises(error, match=message):
        list(
            model.stream(prompt[-1] if isinstance(prompt, list) and isinstance(prompt[-1], list) else prompt, **options)
        )  # type: ignore[arg-type]


def test_a_draw_that_fails_leaves_the_session_as_it_was(model: Model) -> None:
    banned = dict.fromkeys(range(tiny_gguf.N_VOCAB), float("-inf"))
    with model.session() as session:
        session.append([1, 2, 3])
        with pytest.raises(NumericsError):
            list(model.stream([1, 2, 3, 4, 5], session=session, logit_bias=banned))
        assert session.ids == [1, 2, 3]
        assert session.append([9]).tobytes() == model.logits([1, 2, 3, 9])[-1].tobytes()


def test_rows_beyond_the_tokenizer_have_no_text(tmp_path: Path) -> None:
    wide = (tiny_gguf.N_VOCAB + 5, tiny_gguf.D_MODEL)
    tables = {name: tiny_gguf.random_weight(name, wide) for name in ("token_embd.weight", "output.weight")}
    with Model(tiny_gguf.write(tmp_path / "wide.gguf", "F32", tensors=tables), threads=1) as model:
        banned = {i: -math.inf for i in range(tiny_gguf.N_VOCAB)}
        result = model.generate("the", max_tokens=3, logit_bias=banned, seed=0)
    assert len(result.ids) == 3
    assert min(result.ids) >= tiny_gguf.N_VOCAB
    assert result.text == ""


def test_tokens_without_rows_are_refused(tmp_path: Path) -> None:
    narrow = (tiny_gguf.N_VOCAB - 5, tiny_gguf.D_MODEL)
    tables = {name: tiny_gguf.random_weight(name, narrow) for name in ("token_embd.weight", "output.weight")}
    with (
        Model(tiny_gguf.write(tmp_path / "narrow.gguf", "F32", tensors=tables), threads=1) as model,
        pytest.raises(GGUFError, match=r"tokenizer\.ggml\.tokens: 299 tokens, but the model has rows for 294"),
    ):
        model.generate("the")
