"""Qwen2, Qwen2.5 (arXiv:2407.10671, arXiv:2412.15115): a llama with biases on q, k and v, and rotary pairs half a head apart."""

from __future__ import annotations

from pyruntime.arch.blocks import attention, gated_ffn, logits
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
        h = attention(b, hp, layer, h, table, "neox")
        x = b.linear(h, layer["attn_output"], residual=x)
        h = b.rms_norm(x, layer["ffn_norm"], eps)
        x = gated_ffn(b, layer, h, residual=x)
    return b.finish(logits(b, hp, w, x, eps))
