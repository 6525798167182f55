"""Make tests/data/tokenizer/special.json: which tokens end a turn, and which take spaces with them, by llama.cpp.

    pip install llama-cpp-python gguf
    python tests/data/make_special_goldens.py

A case is a vocabulary of bytes and special tokens, as families of models have them, under the names by which llama.cpp
knows their quirks. Answers: the ids of its end tokens, and the ids of texts with parse_special off and on.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
from llama_cpp import Llama
from make_bpe_goldens import ALPHABET

OUT = Path(__file__).parent / "tokenizer" / "special.json"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4

HARMONY = ["<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>", "<|call|>"]
NAMES = [
    *("<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>"),
    *(
        "<|endoftext|>",
        "</s>",
        "<|eom_id|>",
        "<EOT>",
        "_<EOT>",
        "[EOT]",
        "[EOS]",
        "<|end_of_text|>",
        "<eos>",
        "<turn|>",
    ),
    *("<end_of_utterance>", "<|tool_response>", "<｜end▁of▁sentence｜>", "[e~[", "<|fim_prefix|>", "<fim-suffix>"),
    *(
        "<｜fim▁end｜>",
        "<fim_pad>",
        "[PAD]",
        "<|repo_name|>",
        "<reponame>",
        "<|file_sep|>",
        "<|user|>",
        "<|observation|>",
    ),
    *("<s>", "<pad>", "<bos>", "<|im_start|>", "<|plamo:eos|>", "<|eos|>", "<|endofsystem|>"),
]
# (name, special tokens and their type, metadata)
CASES: list[tuple[str, list[tuple[str, int]], dict[str, Any]]] = [
    *((f"only {name}", [(name, kind)], {}) for name in NAMES for kind in (NORMAL, CONTROL, USER_DEFINED)),
    ("gpt-oss", [(name, CONTROL) for name in HARMONY], {"eos_token_id": 256 + HARMONY.index("<|return|>")}),
    ("solar-open", [(name, CONTROL) for name in ("<|end|>", "<|flush|>", "<|calls|>", "<|begin|>")], {}),
    ("phi-4", [(name, CONTROL) for name in ("<|end|>", "<|user|>", "<|endoftext|>")], {"eos_token_id": 258}),
    ("gemma 4", [("</s>", NORMAL), ("<|tool_response>", CONTROL), ("<turn|>", CONTROL), ("<eos>", CONTROL)], {}),
    ("by id", [("a>", CONTROL), ("b>", CONTROL), ("c>", CONTROL)],
     {"eos_token_id": 256, "eot_token_id": 257, "eom_token_id": 258}),
    ("fim by id", [("<|fim_pad|>", USER_DEFINED), ("x>", CONTROL), ("<|repo_name|>", USER_DEFINED)], {"fim_pad_token_id": 257}),
    ("phi-3", [("<|user|>", CONTROL), ("<|end|>", CONTROL), ("<s>", CONTROL), ("</s>", CONTROL), ("<unk>", UNKNOWN),
               ("<|endoftext|>", CONTROL), ("<tool>", USER_DEFINED)], {"general.name": "Phi-3 Mini", "eos_token_id": 259}),
    ("jina", [("<mask>", USER_DEFINED), ("<s>", CONTROL)], {"pre": "jina-v2-de"}),
    ("modern-bert", [("[MASK]", CONTROL), ("[CLS]", CONTROL)], {"general.name": "A Modern-BERT", "pre": "modern-bert"}),
]  # fmt: skip


def texts(special: list[str]) -> list[str]:
    spaced = [f"a {token}  b\t\n{token} {token}\u00a0{token}c" for token in special]
    return [" ".join(special), "".join(special), " \n ".join(special), *spaced]


def ask(special: list[tuple[str, int]], keys: dict[str, Any], folder: str) -> dict[str, Any]:
    path = Path(folder) / "vocabulary.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*ALPHABET, *(token for token, _ in special)])
    writer.add_token_types([NORMAL] * 256 + [kind for _, kind in special])
    writer.add_token_merges(["Ā Ā"])  # a file must have some; two zero bytes do not occur
    writer.add_tokenizer_pre(keys.get("pre", "gpt-2"))
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(keys.get("eos_token_id", 1))
    for key, value in keys.items():
        if key == "general.name":
            writer.add_name(value)
        elif key not in ("pre", "eos_token_id"):
            writer.add_uint32(f"tokenizer.ggml.{key}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    llama = Llama(str(path), vocab_only=True, verbose=False)
    vocab = llama_cpp.llama_model_get_vocab(llama.model)
    lines = texts([token for token, _ in special])
    return {
        "special": special,
        "keys": keys,
        "ends": [i for i in range(256 + len(special)) if llama_cpp.llama_vocab_is_eog(vocab, i)],
        "texts": [
            [line, *(llama.tokenize(line.encode(), add_bos=False, special=parse) for parse in (False, True))]
            for line in lines
        ],
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = [{"name": name, **ask(special, keys, folder)} for name, special, keys in CASES]
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    made_by = f"llama.cpp through llama-cpp-python {llama_cpp.__version__}"
    OUT.write_text(f'{{"made_by":{json.dumps(made_by)},"rows":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
