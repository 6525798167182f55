"""A case's model in transformers, in float64: what the interpreter's result must be, to the last digits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from families.case import Array, Case, Tensors, name_map

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
        tensors = {name: tensor.astype(np.float64) for name, tensor in case.tensors().items()}
        names = name_map(case.architecture, case.metadata["block_count"])
        model.load_state_dict(state(case.to_hugging_face(tensors), names, model))
        result = model(torch.from_numpy(ids.astype(np.int64))[None], use_cache=False).logits[0]
        assert result.dtype == torch.float64
        return result.numpy()


def gguf_name(name: str, names: gguf.TensorNameMap) -> str | None:
    """gguf's table knows some names with the model's prefix, some without."""
    return names.get_name(name, SUFFIXES) or names.get_name(name.removeprefix("transformer."), SUFFIXES)


def state(tensors: Tensors, names: gguf.TensorNameMap, model: Any) -> dict[str, torch.Tensor]:
    """Every parameter of the model out of tensors in its layout; all of them are used."""
    result, used = {}, set()
    for name, parameter in model.state_dict().items():
        source = name if name in tensors else gguf_name(name, names)
        if name == "lm_head.weight" and "output.weight" not in tensors and model.config.tie_word_embeddings:
            source = "token_embd.weight"
        assert source in tensors, f"{name} of transformers is {source}, which the file lacks"
        assert tensors[source].shape == tuple(parameter.shape), (name, tensors[source].shape, tuple(parameter.shape))
        result[name] = torch.from_numpy(np.require(tensors[source], requirements="CW"))
        used.add(source)
    assert used == set(tensors), f"transformers has no {sorted(set(tensors) - used)}"
    return result
