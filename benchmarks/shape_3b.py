#!/usr/bin/env python3
"""A GGUF file of the shape of a 3B Llama, with random weights: benchmarks/shape_3b.py OUT.gguf [--type q4_k] [--seed 0]

28 layers of 3072, 24 heads of 128 and 8 for keys and values, a feed-forward of 8192, and a head tied to an embedding of 128,256
tokens: as Llama 3.2 3B, 1,807 MB of weights in Q4_K. It says nonsense, but takes as long as a model of that size: what a token
reads does not fit any cache, so that generating is limited by memory and nothing else.

Codes are random, scales are such that weights spread by about 0.02 (the square root of 1 / 3072) and norms lie around 1, so that
activations stay finite. Every token of the vocabulary but the 256 bytes is made by a merge, as byte-level BPE has it; text is cut
as Llama 3 does. Memory: one tensor at a time, at most 0.3 GB.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from block_formats import HALVES, SIZES, random_tensor
from tiny_gguf import ALPHABET, llama_shapes

N_LAYERS, D_MODEL, D_FF = 28, 3072, 8192
N_HEADS, N_KV_HEADS, HEAD_DIM = 24, 8, 128
N_VOCAB = 128_256
SPREAD = 0.02  # of the weights

SHAPES = llama_shapes(N_VOCAB, N_LAYERS, D_MODEL, D_FF, N_HEADS, N_KV_HEADS, HEAD_DIM, tied=True)

_LETTERS = list("abcdefghijklmnopqrstuvwxyz")
_CONTROL = ["<|begin_of_text|>", "<|end_of_text|>"]
_LONGEST = 12  # characters of a token
_JOINED_AGAIN = 4096  # of the tokens made first, those that longer ones are made of


def vocabulary(rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """Tokens, and the merges that make them: small letters, some behind a space."""
    tokens, merges = list(ALPHABET), []
    known = set(tokens)
    parts = [*_LETTERS, "Ġ"]
    while len(tokens) < N_VOCAB - len(_CONTROL):
        for left, right in rng.integers(0, len(parts), (1024, 2)):
            token = parts[left] + parts[right]
            if token in known or "Ġ" in parts[right] or len(token) > _LONGEST:
                continue
            known.add(token)
            tokens.append(token)
            merges.append(f"{parts[left]} {parts[right]}")
            if len(parts) < _JOINED_AGAIN:
                parts.append(token)
            if len(tokens) == N_VOCAB - len(_CONTROL):
                break
    return tokens + _CONTROL, merges


def matrix(type_: str, rows: int, cols: int, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """(some rows, bytes of a row) at a time: 1 M weights, whose values are made on the way."""
    some = max(1, (1 << 20) // cols)
    for at in range(0, rows, some):
        yield random_tensor(type_, min(some, rows - at), cols, SPREAD, rng)


def write(path: Path, type_: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tokens, merges = vocabulary(rng)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(f"random weights in the shape of a 3B Llama, {type_}")
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(N_VOCAB)
    writer.add_block_count(N_LAYERS)
    writer.add_context_length(131_072)
    writer.add_embedding_length(D_MODEL)
    writer.add_feed_forward_length(D_FF)
    writer.add_head_count(N_HEADS)
    writer.add_head_count_kv(N_KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_rope_freq_base(500_000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (N_VOCAB - len(_CONTROL)) + [3] * len(_CONTROL))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokens.index(_CONTROL[0]))
    writer.add_eos_token_id(tokens.index(_CONTROL[1]))

    n_block, n_bytes = SIZES[type_]
    for name, shape in SHAPES.items():
        if len(shape) == 1:
            writer.add_tensor_info(name, shape, np.dtype(np.float32), 4 * shape[0])
        else:
            row = shape[1] // n_block * n_bytes
            kind = gguf.GGMLQuantizationType[type_]
            writer.add_tensor_info(name, (shape[0], row), np.dtype(np.uint8), shape[0] * row, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for shape in SHAPES.values():
        if len(shape) == 1:
            writer.write_tensor_data(rng.uniform(0.5, 1.5, shape).astype(np.float32))
        else:
            writer.write_tensor_data(np.concatenate(list(matrix(type_, shape[0], shape[1], rng))))
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--type", default="q4_k", choices=[name.lower() for name in HALVES], metavar="TYPE")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    write(args.out, args.type.upper(), args.seed)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
