"""What the families with experts share: shapes of their tensors, and transformers' layout of them."""

from __future__ import annotations

import numpy as np

from families.case import D_MODEL, Shapes, Tensors

N_EXPERTS, N_USED, D_EXPERT = 8, 3, 64

EXPERTS: Shapes = {
    "ffn_gate_inp.weight": (N_EXPERTS, D_MODEL),
    "ffn_gate_exps.weight": (N_EXPERTS, D_EXPERT, D_MODEL),
    "ffn_up_exps.weight": (N_EXPERTS, D_EXPERT, D_MODEL),
    "ffn_down_exps.weight": (N_EXPERTS, D_MODEL, D_EXPERT),
}
COUNTS = {"expert_count": N_EXPERTS, "expert_used_count": N_USED, "expert_feed_forward_length": D_EXPERT}


def shared(width: int) -> Shapes:
    """An expert for all tokens."""
    return {
        "ffn_gate_shexp.weight": (width, D_MODEL),
        "ffn_up_shexp.weight": (width, D_MODEL),
        "ffn_down_shexp.weight": (D_MODEL, width),
    }


def joined(tensors: Tensors) -> Tensors:
    """Gate and up of all experts are one tensor in transformers."""
    result = dict(tensors)
    for name in [n for n in result if n.endswith("ffn_gate_exps.weight")]:
        experts = f"model.layers.{name.split('.')[1]}.mlp.experts"
        up, down = (result.pop(name.replace("gate", part)) for part in ("up", "down"))
        result[f"{experts}.gate_up_proj"] = np.concatenate([result.pop(name), up], axis=1)
        result[f"{experts}.down_proj"] = down
    return result
