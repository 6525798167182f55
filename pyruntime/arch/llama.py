"""Llama (arXiv:2302.13971) and what shares its shape: Llama 2 and 3, Mistral, Mixtral (arXiv:2401.04088), SmolLM2, TinyLlama.

Pre-norm layers of grouped-query attention with rotary positions and a gated feed-forward, or a mixture of them. The rows of q
and k in a llama GGUF file are permuted so that rotary pairs are neighbours (mode "norm").
"""

from __future__ import annotations

from pyruntime.arch.blocks import attention, experts, gated_ffn, logits
from pyruntime.arch.hparams import HParams
from pyruntime.arch.rope import rotary
from pyruntime.plan import Plan, PlanBuilder, Routing, Weights


def build(b: PlanBuilder, hp: HParams, w: Weights) -> Plan:
    eps = hp.number("attention.layer_norm_rms_epsilon")
    table = rotary(b, hp, w)
    x = b.embedding(w["token_embd"])  # (n_tokens, d_model)
    for i in range(hp.n_layers):
        layer = w.block(i)
        h = b.rms_norm(x, layer["attn_norm"], eps)
        x = b.linear(
            attention(b, hp, layer, h, table, "norm"), layer["attn_output"], layer.bias("attn_output"), residual=x
        )
        h = b.rms_norm(x, layer["ffn_norm"], eps)
        if "expert_count" in hp:
            routing = Routing(hp.integer("expert_used_count"), normalize=True)
            x = b.add(x, experts(b, layer, h, routing))
        else:
            x = gated_ffn(b, layer, h, residual=x)
    return b.finish(logits(b, hp, w, x, eps))
