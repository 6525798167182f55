"""A case's model in transformers, in float64: what the interpreter's result must be, to the last digits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from families.case import Array, Case

SUFFIXES = (".weight", ".bias")


@contextmanager
def float64() -> Iterator[None]:
    """Within, transformers' casts to float32 (of norms, softmax, rotary angles, routers) are to float64 as well."""
    before = torch.get_default_dtype()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("float32", "float"):
            patch.setattr(torch, name, torch.float64)
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def logits(case: Case, ids: NDArray[np.integer[Any]]) -> Array:
    """Float64 (n, n_vocab)."""
    with float64(), torch.inference_mode():
        model = case.model().eval()
        model.load_state_dict(state(case, model), strict=True)
        result = model(torch.from_numpy(ids.astype(np.int64))[None], use_cache=False).logits[0]
        assert result.dtype == torch.float64
        return result.numpy()


def state(case: Case, model: Any) -> dict[str, Any]:
    """Every parameter of the model out of the file's tensors; all of them are used."""
    tensors = case.to_hugging_face({name: t.astype(np.float64) for name, t in case.tensors().items()})
    names = case.name_map()
    result, used = {}, set()
    for name, parameter in model.state_dict().items():
        source = name if name in tensors else names.get_name(name, SUFFIXES)
        if name == "lm_head.weight" and "output.weight" not in tensors and model.config.tie_word_embeddings:
            source = "token_embd.weight"
        assert source in tensors, f"{name} of transformers is {source}, which the file lacks"
        assert tensors[source].shape == tuple(parameter.shape), (name, tensors[source].shape, tuple(parameter.shape))
        result[name] = torch.from_numpy(np.ascontiguousarray(tensors[source]))
        used.add(source)
    assert used == set(tensors), f"transformers has no {sorted(set(tensors) - used)}"
    return result
