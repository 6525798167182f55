"""How far a result may be from what it approximates. Each has a name, what it pays for, and what was measured.

Results are the same bits on every machine (docs/numerics.md), so a budget is there for a change of the formulas, not for
noise: twice to three times what is measured today. Errors of logits are `worst_row`: the root mean square error of the
worst position, over the standard deviation of all reference logits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def worst_row(logits: NDArray[np.floating[Any]], reference: NDArray[np.floating[Any]]) -> float:
    """The root mean square error of the worst row, over the standard deviation of the reference."""
    return float(np.sqrt(np.mean((logits - reference) ** 2, axis=1)).max() / reference.std())


# Tiny random llamas of two layers, 150 positions, against float64 (tests/test_reference.py).
FLOAT32 = 6e-6  # float32 arithmetic alone: 2.7e-6
KV_FLOAT16 = 4e-3  # keys and values rounded to float16: 1.5e-3
# Activations rounded to int8, of each format the worst of three seeds: 0.050 to 0.072. (What rounding the weights costs is
# the format's, and no part of it.)
ACTIVATIONS_INT8 = {
    "Q4_0": 0.12,  # 0.064
    "Q4_1": 0.12,  # 0.062
    "Q5_0": 0.14,  # 0.072
    "Q5_1": 0.14,  # 0.070
    "Q8_0": 0.12,  # 0.064
    "Q2_K": 0.11,  # 0.054
    "Q3_K": 0.12,  # 0.060
    "Q4_K": 0.10,  # 0.050
    "Q5_K": 0.14,  # 0.069
    "Q6_K": 0.14,  # 0.070
    "IQ4_NL": 0.12,  # 0.062
    "IQ4_XS": 0.14,  # 0.071
    "MXFP4": 0.14,  # 0.068
}
# Attention alone on random q, k and v of 300 positions (tests/test_attention.py).
ATTENTION_FLOAT32 = 6e-6  # 2.8e-6, with heads of 576
ATTENTION_KV = {"f32": ATTENTION_FLOAT32, "f16": 2e-3, "q8_0": 0.06}  # 1.0e-3, 0.030
# The same with the int8 rounding in the reference too, so that float32 alone is left, unless it tips an activation over
# to the next integer: six in ten of 24 short sequences. The worst is Q4_K (a large min less a large product) at 5.5e-7;
# the others are at 1.6e-7 to 2.8e-7.
KNOWN_ROUNDING = 1e-6

# Every family, tiny and random, 100 positions, the core in float32 against float64 (tests/families/).
FAMILIES_FLOAT32 = 1e-5  # 4.8e-6, of queries that grow with their position; most are below 2e-6

# Real models on tests/data/topics-120k.txt: mean KL divergence from their weights in float32 over 2,048 positions.
KL_FROM_FLOAT32 = {
    "smollm2-135m-instruct": 0.0031,  # Q4_1: 0.00291; llama.cpp has 0.0031
    "qwen2.5-coder-0.5b-instruct": 0.0005,  # Q4_K_M: 0.000444; llama.cpp has 0.0008
    "gemma3-270m": 0.0024,  # Q4_K_M: 0.00223; llama.cpp has 0.0056
}
PERPLEXITY = {  # llama.cpp's on the same text, `llama-perplexity -c 512 --chunks 40`
    "smollm2-135m-instruct": 11.6297,  # 11.650
    "qwen2.5-coder-0.5b-instruct": 9.0163,  # 9.012
    "gemma3-270m": 12.0686,  # 12.014
}
PERPLEXITY_RELATIVE = 0.005

# SmolLM2-135M-Instruct Q4_1 on the same text.
SMOLLM2_Q8_0_KL = 0.0065  # of keys and values in q8_0 from f16: 0.0051; of f16 from f32, by the same measure, 0.0036

# One operation on random rows, the largest error of an element over the root mean square of its row (tests/test_ops_*.py).
ROW_OPERATION = 2e-6  # norms of heads: 8.4e-7
PRODUCT = 4e-6  # 256 columns: 1.6e-6
GATED_PRODUCT = 1e-5  # the errors of two products meet, relu2: 4.8e-6

# Rotary angles (tests/test_rope_math.py).
INVERSE_FREQUENCY_RELATIVE = 5e-15  # in float64, theta up to 1e9: 2.1e-15
YARN_RELATIVE = 3e-14  # factors to 1e9, ramps among them: 1.2e-14
SINE_ABSOLUTE = 6e-16  # in float64, of a given float64 angle: 2.8e-16
ROTARY_ABSOLUTE = 2e-10  # from exact angles, over positions to 2^20: 5.9e-11; float32 itself rounds by up to 3e-8
