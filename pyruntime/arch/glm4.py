"""GLM-4-0414 (arXiv:2406.12793): part of each head turns, in neighbouring pairs; what each half of a block gives is normed before
it is added; gate and up are one tensor.
"""

from __future__ import annotations

from pyruntime.arch.blocks import attention, fused_gated_ffn, logits
from pyruntime.arch.hparams import HParams
from pyruntime.arch.rope import rotary
from pyruntime.plan import Plan, PlanBuilder, Weights


def build(b: PlanBuilder, hp: HParams, w: Weights) -> Plan:
    eps = hp.number("attention.layer_norm_rms_epsilon")
    table = rotary(b, hp, w)
    x = b.embedding(w["token_embd"])  # (n_tokens, d_model)
    for i in range(hp.n_layers):
        layer = w.block(i)
        h = b.rms_norm(x, layer["attn_norm"], eps)
        h = b.linear(attention(b, hp, layer, h, table, "norm"), layer["attn_output"])
        x = b.add(x, b.rms_norm(h, layer["post_attention_norm"], eps))
        h = b.rms_norm(x, layer["ffn_norm"], eps)
        h = fused_gated_ffn(b, hp, layer, h, None)
        x = b.add(x, b.rms_norm(h, layer["post_ffw_norm"], eps))
    return b.finish(logits(b, hp, w, x, eps))
