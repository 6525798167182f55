"""Thoughts and answers apart: whole, in pieces cut anywhere, and out of a model's tokens."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pyruntime.generate import Job, Request
from pyruntime.reasoning import Splitter, mark_tokens
from pyruntime.sampling import Sampling

# prompt, what the model says, reasoning, text
CASES = [
    ("", "Hello <b>you</b> ", "", "Hello <b>you</b> "),
    ("", "  \n two", "", "  \n two"),
    ("", "", "", ""),
    ("", " \n", "", " \n"),
    ("", "<", "", "<"),
    ("", "<thin ice", "", "<thin ice"),
    ("", "<think>a</think>b", "a", "b"),
    ("", "\n<think>\na\n\nb \n</think>\n\n c \n", "a\n\nb", "c \n"),
    ("", "<think>\n\n</think>\n\nplain", "", "plain"),
    ("", "<think>a < b </thin> </think><think>", "a < b </thin>", ""),
    ("", "<think>one</think>\n<think>two</think>three", "onetwo", "three"),
    ("", "about <think>tags</think>", "", "about <think>tags</think>"),
    ("", "<think>a</think>b <think>c</think>", "a", "b <think>c</think>"),
    ("", "a</think>b", "", "a</think>b"),
    ("<|im_start|>assistant\n<think>\n", "a\n</think>\n\nb", "a", "b"),
    ("<｜Assistant｜><think>", "a</think>b", "a", "b"),
    ("<think>\n\n</think>\n\n", "b <think>", "", "b <think>"),
    ("[/INST]", "[THINK]a[/THINK]b", "a", "b"),
    ("<|start|>assistant", "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b", "a", "b"),
    ("<|start|>assistant", "<|channel|>final<|message|>b", "", "b"),
    ("", "<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>b", "a", "b"),
]  # fmt: skip


def split(prompt: str, pieces: list[str], cut: bool = False) -> tuple[str, str, list[tuple[str, str]]]:
    splitter = Splitter(prompt)
    parts = [*(splitter.push(piece) for piece in pieces), splitter.finish(cut)]
    return "".join(part[0] for part in parts), "".join(part[1] for part in parts), parts


@pytest.mark.parametrize(("prompt", "said", "reasoning", "text"), CASES)
def test_split(prompt: str, said: str, reasoning: str, text: str) -> None:
    assert split(prompt, [said])[:2] == (reasoning, text)


@pytest.mark.parametrize(("prompt", "said", "reasoning", "text"), CASES)
def test_where_a_stream_is_cut_does_not_matter(prompt: str, said: str, reasoning: str, text: str) -> None:
    assert split(prompt, list(said))[:2] == (reasoning, text)
    draw = random.Random(said)
    for _ in range(50):
        cuts = sorted(draw.choices(range(len(said) + 1), k=draw.randint(1, 6)))
        pieces = [said[a:b] for a, b in zip([0, *cuts], [*cuts, len(said)], strict=True)]
        assert split(prompt, pieces)[:2] == (reasoning, text), pieces


@pytest.mark.parametrize(("prompt", "said", "reasoning", "text"), CASES)
def test_no_end_of_a_stream_shows_half_a_tag(prompt: str, said: str, reasoning: str, text: str) -> None:
    """Cut off after any character, a stream has shown a beginning of what it would have shown."""
    for n in range(len(said) + 1):
        got = split(prompt, list(said[:n]), cut=True)
        assert reasoning.startswith(got[0])
        assert text.startswith(got[1]) or got[1].isspace()


def test_text_is_shown_as_soon_as_it_is_certain() -> None:
    _, _, parts = split("", ["<th", "ink> a", " b <", "/think", "> c", " d"])
    assert parts == [("", ""), ("a", ""), (" b", ""), ("", ""), ("", "c"), ("", " d"), ("", "")]


class Letters:
    """A tokenizer of which each id is a piece of text; those in angle brackets are control tokens."""

    pieces = ("a", "b ", "<think>", "</think>", "<|channel|>", "analysis", "<|message|>", "<|end|>", "<|return|>")
    n_vocab = len(pieces)
    special_tokens = {piece: i for i, piece in enumerate(pieces) if piece.startswith("<")}  # noqa: RUF012
    end_ids = frozenset((7, 8))

    def stream_decoder(self, **_: Any) -> Any:
        texts = ["" if i in self.special_tokens.values() else piece for i, piece in enumerate(self.pieces)]
        return SimpleNamespace(push=lambda i: texts[i], finish=lambda: "")


class EmptySession(Any):
    ids: tuple[int, ...] = ()

    def __len__(self) -> int:
        return 0


def job(ids: list[int], splitter: Splitter | None, stop: tuple[str, ...] = ()) -> Job:
    tokenizer: Any = Letters()
    job = Job(tokenizer, EmptySession(), np.zeros(1, np.int32), Request(Sampling(), stop=stop), 0, 16, 99, splitter)
    for i in ids:
        if job.finish_reason is None:
            list(job.take([i], [], []))
    return job


def test_marks_that_are_control_tokens() -> None:
    assert mark_tokens(Letters()).keys() == {2, 3, 4, 6, 7}  # type: ignore[arg-type]
    result = job([2, 0, 1, 3, 1, 8], Splitter()).result()
    assert (result.reasoning, result.text, result.ids) == ("ab", "b ", [2, 0, 1, 3, 1])
    assert job([2, 0, 3, 1, 8], None).result().text == "ab "


def test_an_end_of_turn_that_ends_a_thought_goes_on() -> None:
    """gpt-oss ends its analysis with <|end|>, and its turn with <|return|>."""
    result = job([4, 5, 6, 0, 7, 1, 7, 0], Splitter()).result()
    assert (result.reasoning, result.text, result.finish_reason) == ("a", "b ", "stop")


def test_stop_strings_are_of_the_text() -> None:
    result = job([2, 0, 1, 3, 0, 1, 0], Splitter(), stop=("b",)).result()
    assert (result.reasoning, result.text, result.finish_reason) == ("ab", "a", "stop")
