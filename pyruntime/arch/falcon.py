"""Falcon (arXiv:2311.16867): attention and feed-forward side by side, of one layer norm (7B, 11B) or each of its own (40B, 180B).

The activation is the exact gelu, as in its makers' code.
"""

from __future__ import annotations

from pyruntime.arch.blocks import attention, head, layer_norm, plain_ffn
from pyruntime.arch.hparams import HParams
from pyruntime.arch.rope import rotary
from pyruntime.errors import UnsupportedError
from pyruntime.plan import Plan, PlanBuilder, Weights


def build(b: PlanBuilder, hp: HParams, w: Weights) -> Plan:
    if "attention.max_alibi_bias" in hp:  # falcon-rw scales its biases with the scores, which no operation does
        raise UnsupportedError(f"{hp.path}: falcon with alibi (falcon-rw) is not supported by this version")
    eps = hp.number("attention.layer_norm_epsilon")
    table = rotary(b, hp, w)
    x = b.embedding(w["token_embd"])  # (n_tokens, d_model)
    for i in range(hp.n_layers):
        layer = w.block(i)
        h = layer_norm(b, layer, "attn_norm", x, eps)
        own = layer_norm(b, layer, "attn_norm_2", x, eps) if "attn_norm_2" in layer else h
        x = b.linear(attention(b, hp, layer, own, table, "neox"), layer["attn_output"], residual=x)
        x = plain_ffn(b, layer, h, x, "gelu")
    return b.finish(head(b, w, layer_norm(b, w, "output_norm", b.outputs(x), eps)))
