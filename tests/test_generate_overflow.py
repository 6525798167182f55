"""Conversations that outgrow the context: what is left out of the prompt, what is computed anew, what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_gguf
from cost import cost

from pyruntime import Model
from pyruntime.errors import ContextError

CONTEXT = 256
SYSTEM = {"role": "system", "content": "be brief"}
WORDS = "the hand in ers and that her one "


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("overflow") / "tiny.gguf", "Q8_0")


@pytest.fixture(scope="module")
def model(path: Path) -> Model:
    return Model(path, threads=1, context=CONTEXT)


def turns(n: int, length: int = 30) -> list[dict[str, Any]]:
    """n questions of different text, with n - 1 answers between."""
    messages = []
    for i in range(n):
        messages += [
            {"role": "user", "content": f"{i} {(WORDS * 9)[i : i + length]}"},
            {"role": "assistant", "content": f"a{i}"},
        ]
    return messages[:-1]


def prompt(model: Model, messages: list[dict[str, Any]]) -> list[int]:
    assert model.chat_template is not None
    return model.chat_template.encode(model.tokenizer, messages)


def test_what_fits_is_left_alone(model: Model) -> None:
    messages = [SYSTEM, *turns(4)]
    assert len(prompt(model, messages)) + 20 <= CONTEXT
    answer = model.chat(messages, overflow="drop", max_tokens=20, temperature=0)
    assert answer.dropped_messages == 0
    assert answer.ids == model.chat(messages, max_tokens=20, temperature=0).ids


def test_an_overflow_is_an_error_unless_asked(model: Model) -> None:
    with pytest.raises(ContextError, match=r"the prompt has \d+ tokens and the context 256"):
        model.chat(turns(20), max_tokens=5)
    with pytest.raises(ValueError, match="overflow must be 'error' or 'drop', not 'forget'"):
        model.chat(turns(1), overflow="forget")  # type: ignore[arg-type]


@pytest.mark.parametrize("system", [[], [SYSTEM]])
@pytest.mark.parametrize("max_tokens", [1, 30, 100, 5000, None])
def test_the_oldest_turns_go(model: Model, system: list[dict[str, Any]], max_tokens: int | None) -> None:
    messages = [*system, *turns(40)]
    stream = model.stream_chat(messages, overflow="drop", max_tokens=max_tokens, temperature=0)
    dropped = stream.result.dropped_messages
    assert dropped > 0
    assert dropped % 2 == 0, "whole turns: a question and its answer"
    kept = [*system, *messages[len(system) + dropped :]]
    room = min(max_tokens or CONTEXT // 4, CONTEXT // 2)
    assert stream.result.prompt_tokens == len(prompt(model, kept)) <= CONTEXT - room
    more = [*system, *messages[len(system) + dropped - 2 * 8 :]]
    assert len(prompt(model, more)) > CONTEXT - room - CONTEXT // 4, "not much more than had to go"
    next(stream)
    stream.close()
    short = model.chat(messages, overflow="drop", max_tokens=5, temperature=0)
    assert (
        short.ids
        == model.chat([*system, *messages[len(system) + short.dropped_messages :]], max_tokens=5, temperature=0).ids
    )


def test_a_growing_conversation_seldom_computes_what_stays_anew(path: Path) -> None:
    """Each turn gives the whole conversation; a session shares it, but for the turns at which more had to go."""
    model = Model(path, threads=1, context=1024)
    messages: list[dict[str, Any]] = [SYSTEM]
    anew, dropped = 0, 0
    with model.session() as session:
        for i in range(70):
            messages.append({"role": "user", "content": f"{i} {WORDS[i % 9 :]}"})
            answer = model.chat(messages, session=session, overflow="drop", max_tokens=8, temperature=0)
            kept = [SYSTEM, *messages[1 + answer.dropped_messages :]]
            assert answer.ids == model.chat(kept, max_tokens=8, temperature=0).ids
            assert answer.dropped_messages >= dropped, "what was left out does not come back"
            if answer.timings["prefill_tokens"] > 100:
                anew += 1
                assert answer.dropped_messages > dropped, "computed anew only where the oldest turns went"
            dropped = answer.dropped_messages
            messages.append({"role": "assistant", "content": answer.text})
    assert dropped > 40
    assert 3 < anew < 14


def test_the_last_question_and_the_system_message_never_go(model: Model) -> None:
    long = {"role": "user", "content": WORDS * 10}
    messages = [SYSTEM, *turns(6)[:-1], long]
    assert CONTEXT // 2 < len(prompt(model, [SYSTEM, long])) < CONTEXT
    answer = model.chat(messages, overflow="drop", max_tokens=CONTEXT, temperature=0, logit_bias={tiny_gguf.END: -1e9})
    assert answer.dropped_messages == len(messages) - 2
    assert answer.prompt_tokens == len(prompt(model, [SYSTEM, long]))
    assert (answer.finish_reason, answer.prompt_tokens + len(answer.ids)) == ("length", CONTEXT), (
        "it ends with the context"
    )
    with pytest.raises(ContextError, match="the context 256"):
        model.chat([*messages, {"role": "user", "content": WORDS * 40}], overflow="drop")
    with pytest.raises(ContextError, match="the context 256"):
        model.chat([{"role": "system", "content": WORDS * 40}, *turns(3)], overflow="drop")


def test_a_session_that_an_error_leaves_keeps_its_tokens(model: Model) -> None:
    with model.session() as session:
        model.chat(turns(2), session=session, max_tokens=3)
        held = session.ids
        with pytest.raises(ContextError):
            model.chat([{"role": "user", "content": WORDS * 40}], session=session, overflow="drop")
        assert session.ids == held


def test_turns_of_tools_and_of_greetings_go_whole(model: Model) -> None:
    """What follows a question goes with it; what stands before the first question goes first; late system messages stay."""
    tool_turn = [
        {"role": "user", "content": "weather"},
        {"role": "assistant", "content": "call"},
        {"role": "tool", "content": "rain"},
        {"role": "assistant", "content": "it rains"},
    ]
    note = {"role": "system", "content": "note"}
    head = [SYSTEM, {"role": "assistant", "content": "hello"}, *tool_turn, note, *tool_turn]
    for n in range(4, 12):
        messages = [*head, *turns(n)]
        stream = model.stream_chat(messages, overflow="drop", max_tokens=100, temperature=0)
        stream.close()
        n_dropped = stream.result.dropped_messages
        at = next(
            (i for i in range(len(messages)) if sum(m["role"] != "system" for m in messages[:i]) == n_dropped),
            len(messages),
        )
        kept = [*(m for m in messages[:at] if m["role"] == "system"), *messages[at:]]
        assert n_dropped == 0 or next(m for m in kept if m["role"] != "system")["role"] == "user"
        assert stream.result.prompt_tokens == len(prompt(model, kept))
        if n == 11:
            assert note in kept
            assert n_dropped > len(head) - 2


def test_a_text_of_megabytes_is_refused_by_its_beginning(model: Model) -> None:
    """Tokenizing all of it would take minutes, and gigabytes."""
    text = WORDS * 1_000_000
    with cost() as spent:
        for ask in (model.generate, model.stream, lambda text: model.chat([{"role": "user", "content": text}])):
            with pytest.raises(ContextError, match=r"the prompt has more than \d+ tokens and the context 256"):
                ask(text)
    assert spent.seconds < 3  # measured: 0.1
    assert spent.megabytes < 200
