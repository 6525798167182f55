"""Gemma 3: windows and two rotary bases by layer, norms of q and k and after each half of a block, norms stored as 1 + w."""

from __future__ import annotations

from typing import Any

from families.case import D_FF, D_MODEL, GATED_FFN, N_HEADS, N_VOCAB, TIED, Case, Shapes, Tensors, blocks, metadata

HEAD_DIM, N_LAYERS, WINDOW = 32, 7, 20
SCALING = {"rope.scaling.type": "linear", "rope.scaling.factor": 8.0}
LAYER: Shapes = GATED_FFN | {
    "attn_norm.weight": (D_MODEL,),
    "attn_q.weight": (N_HEADS * HEAD_DIM, D_MODEL),
    "attn_q_norm.weight": (HEAD_DIM,),
    "attn_k.weight": (HEAD_DIM, D_MODEL),
    "attn_k_norm.weight": (HEAD_DIM,),
    "attn_v.weight": (HEAD_DIM, D_MODEL),
    "attn_output.weight": (D_MODEL, N_HEADS * HEAD_DIM),
    "post_attention_norm.weight": (D_MODEL,),
    "ffn_norm.weight": (D_MODEL,),
    "post_ffw_norm.weight": (D_MODEL,),
}
METADATA = metadata(
    block_count=N_LAYERS,
    attention__head_count_kv=1,
    attention__key_length=HEAD_DIM,
    attention__value_length=HEAD_DIM,
    attention__layer_norm_rms_epsilon=1e-6,
    attention__sliding_window=WINDOW,
    rope__freq_base=70000.0,
)


def model(factor: float = 1.0, **changed: Any) -> Any:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    scaled = {"rope_type": "linear", "factor": factor} if factor != 1 else {"rope_type": "default"}
    rope = {
        "full_attention": {"rope_theta": 70000.0} | scaled,
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    }
    every = ["sliding_attention"] * 5 + ["full_attention"]
    sizes = {
        "vocab_size": N_VOCAB,
        "hidden_size": D_MODEL,
        "intermediate_size": D_FF,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": N_HEADS,
        "num_key_value_heads": 1,
        "head_dim": HEAD_DIM,
        "query_pre_attn_scalar": HEAD_DIM,
        "sliding_window": WINDOW,
        "layer_types": (every * 2)[:N_LAYERS],
        "rope_parameters": rope,
        "rms_norm_eps": 1e-6,
        "attn_implementation": "eager",
    }
    return Gemma3ForCausalLM(Gemma3TextConfig(**sizes | changed))


def norms_less_one(tensors: Tensors) -> Tensors:
    return {name: tensor - 1 if "norm" in name else tensor for name, tensor in tensors.items()}


def case(extra: dict[str, Any], **changed: Any) -> Case:
    shapes = TIED | blocks(LAYER, n_layers=N_LAYERS)
    return Case("gemma3", METADATA | extra, shapes, lambda: model(**changed), norms_less_one)


CASES = {
    "as most files are": case({}),
    "scaled global layers": case(SCALING | {"rope.freq_base_swa": 10000.0}, factor=8.0),
    "capped logits": case({"final_logit_softcapping": 4.0}, final_logit_softcapping=4.0),
    "another pattern": case(
        {"attention.sliding_window_pattern": 3},
        layer_types=["full_attention" if i % 3 == 2 else "sliding_attention" for i in range(N_LAYERS)],
    ),
}
