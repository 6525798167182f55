"""Thoughts apart from the answer: what a reasoning model writes between its marks, before it answers.

Families mark them differently; the spellings of the marks are the tokens', so nothing here depends on a model's name.
Thoughts are looked for where models have them, at the beginning: `<think>` in the middle of an answer is text about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyruntime.tokenizer import Tokenizer

# What opens a thought, and what closes it.
_MARKS = {
    "<think>": "</think>",  # DeepSeek R1, Qwen3, SmolLM3, GLM, Granite and most others
    "[THINK]": "[/THINK]",  # Magistral
    "<|channel|>analysis<|message|>": "<|end|>",  # gpt-oss
    "<|START_THINKING|>": "<|END_THINKING|>",  # Command A
}
# What may stand before a thought or an answer and belongs to neither.
_HEADS = ("<|start|>assistant", "<|channel|>final<|message|>", "<|START_RESPONSE|>")
_OPENINGS = (*_MARKS, *_HEADS)
_TOKENS = (
    *("<think>", "</think>", "[THINK]", "[/THINK]", "<|start|>", "<|channel|>", "<|message|>", "<|end|>"),
    *("<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>"),
)


class Splitter:
    """Splits an answer as it comes. `push` and `finish` return (reasoning, text): what of each is certain now.

    No part of a mark is ever returned. White space around a thought is dropped; a text without one stays as it is.
    """

    def __init__(self, prompt: str = "") -> None:
        """`prompt` is the rendered one: where it ends in an opening mark, the answer begins inside the thought."""
        end = prompt.rstrip()
        self._close = next((close for mark, close in _MARKS.items() if end.endswith(mark)), "")  # "": not in a thought
        self._held = ""
        self._began = False  # the thought at hand has a character that is not white space
        self._thought = bool(self._close)  # there was a thought: white space before the text is dropped
        self.answering = False  # the answer has begun: all that follows is text

    def push(self, piece: str) -> tuple[str, str]:
        if self.answering:
            return "", piece
        self._held += piece
        reasoning = ""
        while True:
            if self._close:
                more, closed = self._inside()
                reasoning += more
                if not closed:
                    return reasoning, ""
            elif not self._opened():
                return reasoning, self._answer() if self.answering else ""

    def finish(self, cut: bool) -> tuple[str, str]:
        """What was held back, when no more comes; `cut`: the model would have gone on, so half a mark is no text."""
        held, self._held = self._held, ""
        if self._close:
            return held[: len(held) - overlap(held, self._close)].rstrip() if cut else held.rstrip(), ""
        return "", "" if cut and held.strip() else held.lstrip() if self._thought else held

    def closes(self, mark: str) -> bool:
        """Whether this mark ends the thought at hand: gpt-oss ends thoughts as other models end turns."""
        return bool(mark) and mark == self._close

    def _inside(self) -> tuple[str, bool]:
        """The part of the thought that is certain, and whether it ended."""
        at = self._held.find(self._close)
        if at >= 0:
            reasoning, self._held = self._held[:at].rstrip(), self._held[at + len(self._close) :]
            self._close = ""
        else:
            certain = self._held[: len(self._held) - overlap(self._held, self._close)].rstrip()
            reasoning, self._held = certain, self._held[len(certain) :]
        if not self._began:
            reasoning = reasoning.lstrip()
        self._began = self._began or bool(reasoning)
        return reasoning, not self._close

    def _opened(self) -> bool:
        """Whether a mark was taken off what is held; if none can come any more, the answer has begun."""
        text = self._held.lstrip()
        for mark in _OPENINGS:
            if text.startswith(mark):
                self._held = text[len(mark) :]
                self._close = _MARKS.get(mark, "")
                self._thought, self._began = True, False
                return True
        self.answering = bool(text) and not any(mark.startswith(text) for mark in _OPENINGS)
        return False

    def _answer(self) -> str:
        held, self._held = self._held, ""
        return held.lstrip() if self._thought else held


def mark_tokens(tokenizer: Tokenizer) -> dict[int, str]:
    """The marks that are control tokens, by id: decoding leaves control tokens out, and the splitter needs these."""
    return {tokenizer.special_tokens[name]: name for name in _TOKENS if name in tokenizer.special_tokens}


def overlap(text: str, mark: str) -> int:
    """Length of the longest end of `text` that begins `mark` and is not all of it."""
    return next((n for n in range(min(len(text), len(mark) - 1), 0, -1) if text.endswith(mark[:n])), 0)
