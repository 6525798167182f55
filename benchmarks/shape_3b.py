#!/usr/bin/env python3
"""A GGUF file of the shape of Qwen2.5-3B, with random weights: benchmarks/shape_3b.py OUT.gguf --tokenizer QWEN.gguf

36 layers of 2048, 16 heads of 128 and 2 for keys and values, a feed-forward of 11,008, and a head tied to an embedding of 151,936
tokens: 1,816 MB of weights, Q6_K for the embedding and Q4_K for the rest. The tokenizer and the chat template are those of the
Qwen2.5 file that is given. It says nonsense, but takes as long as a model of that size: what a token reads does not fit any
cache, so that generating is limited by memory and nothing else.

Codes are random, scales are such that weights spread by about 0.02 (the square root of 1 / 2048) and norms lie around 1, so that
activations stay finite. Memory: one tensor at a time, at most 0.5 GB.
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
from tiny_gguf import llama_shapes

N_LAYERS, D_MODEL, D_FF = 36, 2048, 11_008
N_HEADS, N_KV_HEADS, HEAD_DIM = 16, 2, 128
N_VOCAB = 151_936
SPREAD = 0.02  # of the weights
EMBEDDING, TOKENS = "token_embd.weight", "tokenizer.ggml.tokens"

SHAPES = llama_shapes(N_VOCAB, N_LAYERS, D_MODEL, D_FF, N_HEADS, N_KV_HEADS, HEAD_DIM, tied=True)
SHAPES |= {
    f"blk.{i}.{name}.bias": SHAPES[f"blk.{i}.{name}.weight"][:1]
    for i in range(N_LAYERS)
    for name in ("attn_q", "attn_k", "attn_v")
}


def copy_tokenizer(source: Path, writer: gguf.GGUFWriter) -> None:
    """All that the file says of its tokenizer. SystemExit if it has another vocabulary than the shape."""
    fields = gguf.GGUFReader(source).fields
    if TOKENS not in fields or len(fields[TOKENS].data) != N_VOCAB:
        sys.exit(f"{source}: not a tokenizer of {N_VOCAB} tokens; give a Qwen2.5 file")
    for name, field in fields.items():
        if name.startswith("tokenizer."):
            kind, *element = field.types
            writer.add_key_value(name, field.contents(), kind, *element[-1:])


def matrix(type_: str, rows: int, cols: int, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """(some rows, bytes of a row) at a time: 1 M weights, whose values are made on the way."""
    some = max(1, (1 << 20) // cols)
    for at in range(0, rows, some):
        yield random_tensor(type_, min(some, rows - at), cols, SPREAD, rng)


def write(path: Path, tokenizer: Path, type_: str, embedding_type: str, seed: int) -> None:
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name(f"random weights in the shape of Qwen2.5-3B, {type_}")
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(N_VOCAB)
    writer.add_block_count(N_LAYERS)
    writer.add_context_length(32_768)
    writer.add_embedding_length(D_MODEL)
    writer.add_feed_forward_length(D_FF)
    writer.add_head_count(N_HEADS)
    writer.add_head_count_kv(N_KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1_000_000.0)
    copy_tokenizer(tokenizer, writer)

    types = {name: embedding_type if name == EMBEDDING else type_ for name, shape in SHAPES.items() if len(shape) == 2}
    for name, shape in SHAPES.items():
        if name not in types:
            writer.add_tensor_info(name, shape, np.dtype(np.float32), 4 * shape[0])
            continue
        n_block, n_bytes = SIZES[types[name]]
        row = shape[1] // n_block * n_bytes
        kind = gguf.GGMLQuantizationType[types[name]]
        writer.add_tensor_info(name, (shape[0], row), np.dtype(np.uint8), shape[0] * row, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = np.random.default_rng(seed)
    for name, shape in SHAPES.items():
        if name in types:
            writer.write_tensor_data(np.concatenate(list(matrix(types[name], shape[0], shape[1], rng))))
        else:
            around = 0.0 if name.endswith(".bias") else 1.0
            writer.write_tensor_data(rng.uniform(around - 0.5, around + 0.5, shape).astype(np.float32))
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    types = [name.lower() for name in HALVES]
    parser.add_argument("out", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True, metavar="QWEN.gguf")
    parser.add_argument("--type", default="q4_k", choices=types, metavar="TYPE")
    parser.add_argument("--embedding-type", default="q6_k", choices=types, metavar="TYPE")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    write(args.out, args.tokenizer, args.type.upper(), args.embedding_type.upper(), args.seed)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
