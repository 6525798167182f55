"""Make tests/data/tokenizer/smollm2.json and characters.json: ids by llama.cpp with the default model's vocabulary.

    pip install llama-cpp-python gguf
    python tests/data/make_tokenizer_goldens.py MODEL.gguf

MODEL is the default model (SmolLM2). make_bpe_goldens.py does the same for every splitting rule, without a model.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from llama_cpp import Llama
from tokenizer_texts import texts, written_lines

OUT = Path(__file__).parent / "tokenizer"


def write(name: str, value: Any) -> None:
    lines = ",\n".join(json.dumps(row, ensure_ascii=True, separators=(",", ":")) for row in value["rows"])
    (OUT / name).write_text(f'{{"made_by":{json.dumps(value["made_by"])},"rows":[\n{lines}\n]}}\n')


def character_texts() -> list[str]:
    """Every assigned character, 256 a text, where its class shows: beside a letter, a digit, a space, a mark, itself."""
    blocks = [block for block in range(0, 0x33500, 0x100) if not 0xD800 <= block < 0xE000]
    return ["".join(f"a{c}a1{c}1 {c}{c}!{c}" for c in map(chr, range(b, b + 0x100))) for b in blocks]


def digest(ids: list[int]) -> str:
    return hashlib.sha256(" ".join(map(str, ids)).encode()).hexdigest()[:8]


def main(model: str) -> None:
    import llama_cpp

    made_by = f"llama.cpp through llama-cpp-python {llama_cpp.__version__}"
    llama = Llama(model, vocab_only=True, verbose=False)

    def ask(text: str, special: bool) -> list[int]:
        return list(llama.tokenize(text.encode(), add_bos=False, special=special))

    some = [text for i, text in enumerate(texts()) if i <= len(written_lines()) or i % 4 == 0 or "<|im_end|>" in text]
    # [text, ids] or, where control tokens were found, [text, ids, ids with parse_special]
    rows = [
        [text, plain] if plain == parsed else [text, plain, parsed]
        for text, plain, parsed in ((text, ask(text, False), ask(text, True)) for text in some)
    ]
    write("smollm2.json", {"made_by": made_by, "rows": rows})

    digests = [digest(ask(text, True)) for text in character_texts()]
    write("characters.json", {"made_by": made_by, "rows": [digests[i : i + 16] for i in range(0, len(digests), 16)]})


if __name__ == "__main__":
    main(sys.argv[1])
