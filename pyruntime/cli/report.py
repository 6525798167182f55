"""What --json prints of an answer."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyruntime import Generation


def report(model: str, result: Generation) -> dict[str, object]:
    """The fields of a generation by name; `reasoning` and `logprobs` are there where there are any."""
    return {
        "model": model,
        "text": result.text,
        **({"reasoning": result.reasoning} if result.reasoning else {}),
        "ids": result.ids,
        **({} if result.logprobs is None else {"logprobs": [asdict(token) for token in result.logprobs]}),
        "finish_reason": result.finish_reason,
        "prompt_tokens": result.prompt_tokens,
        "seed": result.seed,
        "timings": result.timings,
    }
