"""Make tests/data/tokenizer/bpe.json.gz: what each `tokenizer.ggml.pre` makes of the texts in tokenizer_texts.py.

    pip install llama-cpp-python gguf tokenizers regex
    python tests/data/make_bpe_goldens.py

The vocabulary is trained here, without cutting text into words, so that there are tokens across every border that a
rule may draw; it goes into the file. Ids are llama.cpp's, asked with the vocabulary under each rule's name, but where the
original tokenizer's expression is known and llama.cpp departs from it: then they are those of ORIGINALS, run by the
`regex` module, with the merging done here, naively. The texts for which the two differ are listed with the ids.

File: JSON with "made_by"; "merges" (token ids are 0 to 255 for bytes, then one a merge, and "whole"); "gemma": tokens,
types and merges of the rule gemma4, which is over characters; "texts"; "rules": names, and for which texts llama.cpp
has other ids; "aliases": names to which llama.cpp gives the same ids; "ids": for each text the different lists of ids,
and for each rule which of them.
"""

from __future__ import annotations

import functools
import gzip
import json
import sys
import tempfile
import unicodedata
from itertools import pairwise
from pathlib import Path

import gguf
import regex
from tokenizer_texts import texts

# The letters that DeepSeek LLM splits by, as its tokenizer.json lists them.
CASED = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝ"
    "Ὗ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)

OUT = Path(__file__).parent / "tokenizer" / "bpe.json.gz"

C = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
U, L = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
UH, LH = r"[[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]&&[^\p{Han}]]", r"[[\p{Ll}\p{Lm}\p{Lo}\p{M}]&&[^\p{Han}]]"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = C + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = C + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN35 = C + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{U}*{L}+{C}?|[^\r\n\p{{L}}\p{{N}}]?{U}+{L}*{C}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{U}*{L}+|[^\r\n\p{{L}}\p{{N}}]?{U}+{L}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
KIMI = (
    rf"[\p{{Han}}]+|[^\r\n\p{{L}}\p{{N}}]?{UH}*{LH}+{C}?|[^\r\n\p{{L}}\p{{N}}]?{UH}+{LH}*{C}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SEED = C + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
EXAONE_MOE = (
    C + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
)
YOUTU_BLOCKS = "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+"
YOUTU = O200K.replace("{1,3}", "")
DEEPSEEK_CODER = [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+", r"\p{N}"]
DEEPSEEK_LLM = [r"[\r\n]", rf"\s?[{CASED}]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", DEEPSEEK_CODER[3], r"\p{N}+"]

# Expressions as the original tokenizers publish them (tokenizer.json, or the Python of their authors); True: NFC first.
ORIGINALS: dict[str, tuple[list[str], bool]] = {
    "gpt-2": ([GPT2], False),
    "olmo": ([GPT2], True),
    "smollm": ([r"\p{N}", GPT2], False),
    "command-r": ([r"\p{N}", GPT2], True),
    "llama-bpe": ([LLAMA3], False),
    "dbrx": ([LLAMA3], False),
    "glm4": ([LLAMA3], False),
    "minicpm5": ([r"\p{N}{1,3}", LLAMA3.replace("{1,3}", "+")], False),
    "qwen2": ([QWEN2], True),
    "deepseek-r1-qwen": ([QWEN2], False),
    "qwen35": ([QWEN35], True),
    "gpt-4o": ([O200K], False),
    "granite-embed-multi-97m": ([O200K], False),
    "tekken": ([TEKKEN], False),
    "kimi-k2": ([KIMI], False),
    "seed-coder": ([SEED], False),
    "exaone-moe": ([EXAONE_MOE], False),
    "youtu": ([YOUTU_BLOCKS, YOUTU], False),
    "deepseek-coder": (DEEPSEEK_CODER, False),
    "deepseek-llm": (DEEPSEEK_LLM, False),
}
LLAMA_CPP = [
    *(
        "default",
        "falcon",
        "chameleon",
        "laguna",
        "ufakzeka",
        "bailingmoe",
        "deepseek-v3",
        "spark2_5",
        "bloom",
        "viking",
    ),
    "gemma4",
]
# Other names that llama.cpp has for these; that the ids are the same is asked here, for a tenth of the texts.
ALIASES = {
    "gpt-2": "phi-2 jais trillion granite-docling exaone4 gigachat mellum a.x-4.0 modern-bert roberta-bpe jina-v1-en"
    " jina-v2-code jina-v2-es jina-v2-de jina-es jina-de mpt olmo",
    "smollm": "starcoder refact codeshell exaone minerva-7b mellum2 command-r",
    "llama-bpe": "llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
    "dbrx": "smaug-bpe chatglm-bpe",
    "glm4": "glm5",
    "deepseek-r1-qwen": "qwen2 stablelm2 hunyuan megrez kormo f2llmv2 solar-open grok-2 bailingmoe bailingmoe2 llada-moe",
    "gpt-4o": "llama4 kanana2 talkie minimax-m2",
    "deepseek-v3": "hunyuan-dense joyai-llm hy_v4",
    "bloom": "poro-chat gpt3-finnish",
}
WHOLE = ["ĠCamelCase", "Ġqzxj"]  # tokens that no merges make
IGNORE_MERGES = {"glm4", "llama-bpe", "tekken", "youtu", "minicpm5", "granite-embed-multi-97m"}


def alphabet() -> list[str]:
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    named = {byte: chr(byte) for byte in visible}
    hidden = [byte for byte in range(256) if byte not in named]
    return [named.get(byte) or chr(256 + hidden.index(byte)) for byte in range(256)]


ALPHABET = alphabet()


def train(lines: list[str]) -> list[list[str]]:
    """Merges over whole lines: nothing keeps them inside words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=5000, initial_alphabet=ALPHABET, show_progress=False, min_frequency=2)
    tokenizer.train_from_iterator(lines, trainer)
    return [list(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


class Naive:
    """BPE as it is defined: merge the pair of the lowest rank, leftmost first, until there is none."""

    def __init__(self, merges: list[list[str]], rule: str) -> None:
        self.ranks = {tuple(merge): rank for rank, merge in enumerate(merges)}
        self.ids = {token: i for i, token in enumerate([*ALPHABET, *map("".join, merges), *WHOLE])}
        patterns, self.nfc = ORIGINALS[rule]
        self.patterns = [regex.compile(pattern, regex.V1) for pattern in patterns]
        self.ignore_merges = rule in IGNORE_MERGES
        self.word = functools.lru_cache(None)(self._word)

    def encode(self, text: str) -> list[int]:
        pieces = [unicodedata.normalize("NFC", text) if self.nfc else text]
        for pattern in self.patterns:
            pieces = [part for piece in pieces for part in cut(piece, pattern)]
        return [i for piece in pieces for i in self.word(piece)]

    def _word(self, word: str) -> list[int]:
        parts = [ALPHABET[byte] for byte in word.encode()]
        if self.ignore_merges and "".join(parts) in self.ids:
            return [self.ids["".join(parts)]]
        while len(parts) > 1:
            rank, at = min((self.ranks.get(pair, 1 << 30), i) for i, pair in enumerate(pairwise(parts)))
            if rank == 1 << 30:
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return [self.ids[part] for part in parts]


def cut(text: str, pattern: regex.Pattern) -> list[str]:
    """Matches, and what lies between them."""
    pieces, done = [], 0
    for match in pattern.finditer(text):
        pieces += [text[done : match.start()], match[0]]
        done = match.end()
    return [piece for piece in [*pieces, text[done:]] if piece]


def gemma_vocabulary(merges: list[list[str]], runs: list[int]) -> tuple[list[str], list[int], list[str]]:
    """Tokens, types, merges: the same merges over characters, as far as they are whole, with U+2581 for a space.

    `runs` are lengths of runs of newlines that are tokens (llama.cpp aborts at others); merges make the first few.
    """
    byte_of = {char: byte for byte, char in enumerate(ALPHABET)}

    def text(token: str) -> str:
        spelt = bytes(byte_of[char] for char in token).decode("utf-8", "replace").replace(" ", "\u2581")
        return "" if {*spelt} & {"\0", "\n", "\ufffd"} else spelt

    pairs, made = [], {}
    for left, right in [*(map(text, pair) for pair in merges), *(("\n" * n, "\n") for n in range(1, 5))]:
        if left and right and (len(left) == 1 or left in made) and (len(right) == 1 or right in made):
            pairs.append(f"{left} {right}")
            made[left + right] = True
    chars = sorted({char for token in made for char in token})
    whole = ["\n" * n for n in runs if n > 1 and "\n" * n not in made]
    tokens = [*(f"<0x{byte:02X}>" for byte in range(256)), *chars, *made, *whole]
    types = [int(gguf.TokenType.BYTE)] * 256 + [int(gguf.TokenType.NORMAL)] * (len(tokens) - 256)
    return tokens, types, pairs


def newline_runs(lines: list[str]) -> list[int]:
    return sorted({len(run) for line in lines for run in regex.findall("\n+", line)})


def ask_llama_cpp(rule: str, merges: list[list[str]], lines: list[str]) -> list[list[int]]:
    from llama_cpp import Llama

    tokens = [*ALPHABET, *map("".join, merges), *WHOLE]
    types, joined = [gguf.TokenType.NORMAL] * len(tokens), [" ".join(merge) for merge in merges]
    if rule == "gemma4":
        tokens, types, joined = gemma_vocabulary(merges, newline_runs(lines))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocabulary.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_tokenizer_model("gemma4" if rule == "gemma4" else "gpt2")
        writer.add_token_list(tokens)
        writer.add_token_types(types)
        writer.add_token_merges(joined)
        writer.add_bos_token_id(0)
        writer.add_tokenizer_pre(rule)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        llama = Llama(str(path), vocab_only=True, verbose=False)
        return [llama.tokenize(line.encode(), add_bos=False, special=False) for line in lines]


def main() -> None:
    import llama_cpp

    lines = texts()
    merges = train(lines)
    rules, answers = {}, []
    for rule in [*ORIGINALS, *LLAMA_CPP]:
        ids = theirs = ask_llama_cpp(rule, merges, lines)
        if rule in ORIGINALS:
            naive = Naive(merges, rule)
            ids = [naive.encode(line) for line in lines]
        for alias in ALIASES.get(rule, "").split():
            assert ask_llama_cpp(alias, merges, lines[::10]) == theirs[::10], (rule, alias)
        rules[rule] = [i for i, pair in enumerate(zip(ids, theirs, strict=True)) if pair[0] != pair[1]]
        answers.append(ids)
        print(f"{rule}: llama.cpp differs in {len(rules[rule])} of {len(lines)}", file=sys.stderr)

    rows = []
    for columns in zip(*answers, strict=True):
        different = [list(ids) for ids in dict.fromkeys(map(tuple, columns))]
        rows.append([different, [different.index(list(ids)) for ids in columns]])
    made_by = f"llama.cpp through llama-cpp-python {llama_cpp.__version__}, regex {regex.__version__}"
    value = {"made_by": made_by, "merges": merges, "whole": WHOLE, "texts": lines, "rules": rules, "ids": rows}
    value["aliases"] = {rule: names.split() for rule, names in ALIASES.items()}
    value["gemma"] = gemma_vocabulary(merges, newline_runs(lines))
    OUT.write_bytes(gzip.compress(json.dumps(value, separators=(",", ":")).encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
