"""StarCoder2 (arXiv:2402.19173): rotary positions and grouped queries, but layer norms, biases and a plain feed-forward."""

from __future__ import annotations

from pyruntime.arch.blocks import attention, head, layer_norm, plain_ffn
from pyruntime.arch.hparams import HParams
from pyruntime.arch.rope import rotary
from pyruntime.plan import Plan, PlanBuilder, Weights


def build(b: PlanBuilder, hp: HParams, w: Weights) -> Plan:
    eps = hp.number("attention.layer_norm_epsilon")
    table = rotary(b, hp, w)
    x = b.embedding(w["token_embd"])  # (n_tokens, d_model)
    for i in range(hp.n_layers):
        layer = w.block(i)
        h = layer_norm(b, layer, "attn_norm", x, eps)
        h = attention(b, hp, layer, h, table, "neox")
        x = b.linear(h, layer["attn_output"], layer.bias("attn_output"), residual=x)
        h = layer_norm(b, layer, "ffn_norm", x, eps)
        x = plain_ffn(b, layer, h, x, "gelu_tanh")
    return b.finish(head(b, w, layer_norm(b, w, "output_norm", b.outputs(x), eps)))
