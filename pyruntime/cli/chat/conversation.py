"""A conversation with a model: its messages, and what is done with them. It knows nothing of a terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Self

from pyruntime.cli.options import UsageError
from pyruntime.errors import UnsupportedError

if TYPE_CHECKING:
    from pyruntime import Generation, Model, Sampling, Session, Stream
    from pyruntime.cli.chat.settings import Settings

Message = dict[str, str]


class Conversation:
    """A list of messages, rendered whole for each turn; the session computes what is new."""

    def __init__(
        self, model: Model, session: Session, settings: Settings, overflow: Literal["drop", "error"] = "drop"
    ) -> None:
        self.model = model
        self.session = session
        self.settings = settings
        self.messages: list[Message] = []
        self.last: Generation | None = None  # what came out of the last turn
        self._overflow = overflow
        self._retries = 0  # how often the last question was answered again

    @property
    def system(self) -> str | None:
        """The system message, which says how to answer all the others."""
        return self.messages[0]["content"] if self._first else None

    def set_system(self, text: str | None) -> None:
        """From the next turn on. UnsupportedError where the model has no place for one."""
        self.messages[: self._first] = [] if text is None else [{"role": "system", "content": text}]

    @property
    def answer(self) -> str | None:
        """The last answer."""
        return next((m["content"] for m in reversed(self.messages) if m["role"] == "assistant"), None)

    def ask(self, question: str) -> Turn:
        """The turn of this question; see `Turn`."""
        self._retries = 0
        return Turn(self, question)

    def again(self) -> Turn:
        """The last question once more: with another seed where there is a fixed one, or the answer would be the same."""
        if len(self.messages) < 2 or self.messages[-1]["role"] != "assistant":
            raise UsageError("there is no answer to regenerate")
        question, old = self.messages[-2:]
        self._retries += 1
        return Turn(self, question["content"], old)

    def undo(self) -> str:
        """Forgets the last question and its answer; returns the question."""
        if len(self.messages) - self._first < 2:
            raise UsageError("there is nothing to undo")
        question, _ = self.messages[-2:]
        del self.messages[-2:]
        return question["content"]

    def reset(self) -> None:
        """Forgets all but the system message."""
        del self.messages[self._first :]

    def load(self, messages: list[Message]) -> None:
        """Goes on with other messages. UnsupportedError as `set_system`; the conversation then stays as it is."""
        if messages and messages[0]["role"] == "system":
            self.set_system(messages[0]["content"])
        self.messages = messages

    def start(self) -> Stream:
        """The answer to the messages as they stand, not begun."""
        return self.model.stream_chat(
            self.messages, overflow=self._overflow, session=self.session, max_tokens=self.settings.max_tokens,
            stop=self.settings.stop, sampling=self.sampling,
        )  # fmt: skip

    def prompt(self) -> str:
        """The text that the model gets for the messages as they stand."""
        return self.model.render(self.messages)

    @property
    def sampling(self) -> Sampling:
        """That of the settings, for this try of an answer."""
        chosen = self.settings.sampling
        if chosen.seed is None or not self._retries:
            return chosen
        return dataclasses.replace(chosen, seed=(chosen.seed + self._retries) % (1 << 64))

    def forget(self, n: int) -> None:
        """Leaves out the n oldest messages, as the prompt did."""
        del self.messages[self._first : self._first + n]

    @property
    def _first(self) -> int:
        """Where the turns begin."""
        return 1 if self.messages and self.messages[0]["role"] == "system" else 0


class Completion(Conversation):
    """With a base model, which knows no turns: it continues what is typed, each line by itself."""

    def set_system(self, text: str | None) -> None:
        if text is not None:
            raise UnsupportedError(f"{self.model.path} has no chat template, and so no place for a system message")

    def start(self) -> Stream:
        return self.model.stream(
            self.messages[-1]["content"], max_tokens=self.settings.max_tokens, stop=self.settings.stop,
            sampling=self.sampling,
        )  # fmt: skip

    def prompt(self) -> str:
        return self.model.render(self.messages[-1]["content"])


class Turn:
    """A question on its way to an answer: enter it, iterate over (reasoning, text), leave it.

    However it ends, by itself, by an error or by Ctrl-C, what was seen of the answer stays in the conversation. A question
    to which nothing was answered is taken back, since two of one role in a row are an error to some templates; a question
    that was asked again then keeps its old answer.
    """

    def __init__(self, conversation: Conversation, question: str, old: Message | None = None) -> None:
        """old: the answer that another one is to replace; it and its question are then the conversation's last messages."""
        self.dropped = 0  # messages that were left out, since the context is full
        self._conversation = conversation
        self._question = {"role": "user", "content": question}
        self._old = old
        self._thought, self._said = "", ""

    def __enter__(self) -> Self:
        messages = self._conversation.messages
        if self._old is not None:
            del messages[-2:]
        messages.append(self._question)
        try:
            self._stream = self._conversation.start()
        except BaseException:
            self._settle()
            raise
        self.dropped = self._stream.result.dropped_messages
        self._conversation.forget(self.dropped)
        return self

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for reasoning, text in self._stream.parts():
            self._thought += reasoning
            self._said += text
            yield reasoning, text

    def __exit__(self, *_: object) -> None:
        try:
            self._stream.close()
        finally:
            self._conversation.last = self._stream.result
            self._settle()

    @property
    def prefill(self) -> tuple[int, int]:
        """See `Stream.prefill`."""
        return self._stream.prefill

    @property
    def result(self) -> Generation:
        """What has come out so far."""
        return self._stream.result

    def _settle(self) -> None:
        messages = self._conversation.messages
        if self._said:
            # Templates choose what to keep of the thoughts.
            thoughts = {"reasoning_content": self._thought} if self._thought else {}
            messages.append({"role": "assistant", "content": self._said, **thoughts})
        elif self._old is not None:
            messages.append(self._old)
        else:
            messages.pop()
