"""What the real models say, greedily: tests/data/greedy.json holds conversations and completions that a person has read.

Tokens are the same on every machine (docs/numerics.md), so they are compared one by one. A change of the numerics may
change them: read the new ones before storing them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyruntime import Model
from pyruntime.catalogue import DEFAULT

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "greedy.json").read_text(encoding="utf-8"))


def parameter(case: dict[str, Any]) -> Any:
    marks = [pytest.mark.slow] * (case["model"] != DEFAULT)
    return pytest.param(case, marks=marks, id=f"{case['model']}-{case['about']}")


@pytest.mark.model
@pytest.mark.parametrize("case", [parameter(case) for case in CASES])
def test_greedy(case: dict[str, Any], real_model: Callable[[str], Path]) -> None:
    options: dict[str, Any] = {"max_tokens": case["max_tokens"], "temperature": 0}
    with Model(real_model(case["model"]), context=1024) as model:
        if "prompt" in case:
            prompt = model.render(case["prompt"])
            found = model.generate(case["prompt"], **options)
        else:
            prompt = model.render(case["messages"])
            found = model.chat(case["messages"], **options)
        assert prompt == case["rendered"]
        assert found.prompt_tokens == case["prompt_tokens"]
        assert (found.ids, found.text, found.finish_reason) == (case["ids"], case["text"], case["finish_reason"])
