"""A conversation that has outgrown the context: which of its oldest turns are left out."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pyruntime.chat_template import Prompt

Overflow = Literal["error", "drop"]
Messages = Sequence[Mapping[str, Any]]

_KEPT = frozenset(("system", "developer"))  # roles whose messages say how to answer all the others


def fit(
    messages: Messages, render: Callable[[Messages], Prompt], context: int, max_tokens: int | None
) -> tuple[Prompt, int]:
    """The prompt of a conversation, and how many messages were left out of it to leave room for the answer.

    Room is max_tokens, a quarter of the context where there is none, half of it at most. Whole turns go, the oldest first:
    what stands before a user's message, back to the one before. System messages stay, and the last user's message with what
    follows it, whether that fits or not. Tokens go by quarters of the context: the next turns then leave out the same
    messages, and a session shares what it holds with them.
    """
    prompt = render(messages)
    quarter = max(1, context // 4)
    surplus = len(prompt.ids) + min(max_tokens or quarter, context // 2) - context
    first = next((i for i, m in enumerate(messages) if m["role"] not in _KEPT), len(messages))
    starts = [i for i, m in enumerate(messages) if m["role"] == "user" and i > first]
    if surplus <= 0 or not starts:
        return prompt, 0
    enough = len(prompt.ids) - -(-surplus // quarter) * quarter
    at = bisect_left(starts, -enough, key=lambda start: -len(render(_from(messages, start)).ids))
    kept = _from(messages, starts[min(at, len(starts) - 1)])
    return render(kept), len(messages) - len(kept)


def _from(messages: Messages, start: int) -> Messages:
    """The messages from `start`, and the system's before them."""
    return [*(m for m in messages[:start] if m["role"] in _KEPT), *messages[start:]]
