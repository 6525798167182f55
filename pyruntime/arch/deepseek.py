"""DeepSeek-MoE, the first generation (arXiv:2401.06066): a llama whose feed-forwards, but for the first layers', are many small
experts and some that all tokens share."""

from __future__ import annotations

from pyruntime.arch.blocks import attention, experts, gated_ffn, logits, routing
from pyruntime.arch.hparams import HParams
from pyruntime.arch.rope import rotary
from pyruntime.plan import Plan, PlanBuilder, Weights


def build(b: PlanBuilder, hp: HParams, w: Weights) -> Plan:
    eps = hp.number("attention.layer_norm_rms_epsilon")
    table = rotary(b, hp, w)
    n_dense = hp.count("leading_dense_block_count")
    x = b.embedding(w["token_embd"])
    for i in range(hp.n_layers):
        layer = w.block(i)
        h = b.rms_norm(x, layer["attn_norm"], eps)
        h = attention(b, hp, layer, h, table, "norm")
        x = b.linear(h, layer["attn_output"], residual=x)
        h = b.rms_norm(x, layer["ffn_norm"], eps)
        if i < n_dense:
            x = gated_ffn(b, layer, h, residual=x)
        else:
            x = gated_ffn(b, layer, h, residual=b.add(x, experts(b, layer, h, routing(hp))), suffix="_shexp")
    return b.finish(logits(b, hp, w, x, eps))
