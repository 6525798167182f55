"""Qwen1.5-MoE and Qwen2-MoE (arXiv:2407.10671): a Qwen2 with a mixture of experts, and one more expert that all tokens share,
weighed by a gate of its own."""

from __future__ import annotations

from pyruntime.arch.blocks import attention, experts, gated_ffn, logits, routing
from pyruntime.arch.hparams import HParams
from pyruntime.arch.rope import rotary
from pyruntime.plan import Plan, PlanBuilder, Value, Weights


def build(b: PlanBuilder, hp: HParams, w: Weights) -> Plan:
    eps = hp.number("attention.layer_norm_rms_epsilon")
    table = rotary(b, hp, w)
    x = b.embedding(w["token_embd"])
    for i in range(hp.n_layers):
        layer = w.block(i)
        h = b.rms_norm(x, layer["attn_norm"], eps)
        h = attention(b, hp, layer, h, table, "neox")
        x = b.linear(h, layer["attn_output"], residual=x)
        h = b.rms_norm(x, layer["ffn_norm"], eps)
        x = b.add(x, b.add(experts(b, layer, h, routing(hp)), shared_expert(b, layer, h)))
    return b.finish(logits(b, hp, w, x, eps))


def shared_expert(b: PlanBuilder, layer: Weights, h: Value) -> Value:
    y = gated_ffn(b, layer, h, None, suffix="_shexp")
    return b.sigmoid_gate(y, b.linear(h, layer["ffn_gate_inp_shexp"].as_row()))
