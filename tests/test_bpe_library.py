"""The core's merging against the `tokenizers` library's, which most models were trained with: the same ids for every rule."""

from __future__ import annotations

import random
import re
import time
from typing import Any

import pytest
from test_bpe_goldens import goldens, keys, tokenizer
from tokenizer_vocabulary import ALPHABET, CONTROL, NORMAL, any_texts, metadata, random_texts
from tokenizers import Regex, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Library

from pyruntime.tokenizer import load_tokenizer
from pyruntime.tokenizer.pretokenizers import RULES, PreTokenizer

SPACE = "▁"


class Oracle:
    """The library's tokenizer of a vocabulary, with what pyruntime asks of it: tokens of `control` are neither found nor made,
    bytes without a token part their neighbours and are left out, a run of newlines that is a token is one."""

    def __init__(self, values: dict[str, Any], rule: PreTokenizer) -> None:
        tokens = values["tokenizer.ggml.tokens"]
        types = [NORMAL] * len(tokens) if (given := values.get("tokenizer.ggml.token_type")) is None else list(given)
        self.n = len(tokens)
        self.rule = rule
        self.vocab = {t: i for i, (t, kind) in enumerate(zip(tokens, types, strict=True)) if kind != CONTROL}
        bytes_ = [f"<0x{byte:02X}>" for byte in range(256)] if rule.pieces else ALPHABET
        vocab = self.vocab | {t: self.n + i for i, t in enumerate(t for t in bytes_ if t not in self.vocab)}
        pairs = [(left, right) for left, _, right in (m.partition(" ") for m in values["tokenizer.ggml.merges"])]
        merges = [p for p in dict.fromkeys(pairs) if all(t in self.vocab for t in (*p, "".join(p)))]
        self.library = Library(
            models.BPE(vocab=vocab, merges=merges, ignore_merges=rule.ignore_merges, byte_fallback=rule.pieces)
        )
        if rule.nfc:
            self.library.normalizer = normalizers.NFC()
        steps: list[Any] = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in rule.patterns]
        if not rule.pieces:
            steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
        self.library.pre_tokenizer = pre_tokenizers.Sequence(steps)

    def encode(self, text: str) -> list[int]:
        if not self.rule.pieces:
            return self._ids(text)
        ids: list[int] = []
        for part in re.split("(\n+)", text.replace(" ", SPACE)):
            whole = self.vocab.get(part) if part.startswith("\n") else None
            ids += self._ids(part) if whole is None else [whole]
        return ids

    def _ids(self, text: str) -> list[int]:
        return [i for i in self.library.encode(text, add_special_tokens=False).ids if i < self.n]


def of_rule(rule: str) -> dict[str, Any]:
    """The metadata that test_bpe_goldens.tokenizer makes a tokenizer of."""
    if RULES[rule].pieces:
        tokens, types, merges = goldens()["gemma"]
        return keys(tokens=tokens, token_type=types, merges=merges)
    pairs = goldens()["merges"]
    tokens = [*ALPHABET, *("".join(pair) for pair in pairs), *goldens()["whole"]]
    return keys(tokens=tokens, merges=[" ".join(pair) for pair in pairs])


@pytest.mark.parametrize("rule", goldens()["rules"])
def test_ids(rule: str) -> None:
    """Of the goldens' texts, random ones, and words of thousands of letters."""
    ours, oracle = tokenizer(rule), Oracle(of_rule(rule), RULES[rule])
    draw = random.Random(3)
    long = ["".join(draw.choices(letters, k=5000)) for letters in ("the", "abcdefghij", "中文é", "aA", "t")]
    for text in [*goldens()["texts"], *random_texts(500), *any_texts(200), *long]:
        assert ours.encode(text, add_special=False) == oracle.encode(text), repr(text[:80])


def random_vocabulary(draw: random.Random, alphabet: list[str], whole: list[str]) -> dict[str, Any]:
    """Merges of anything with anything, in any order: two of them may make the same token, and the first need not be reachable.
    Some tokens are control tokens, some merges are there twice, some bytes have no token."""
    tokens = [*alphabet]
    merges: list[str] = []
    letters = [token for token in alphabet if token in {*"abc", "Ġ", SPACE}]
    for _ in range(draw.randint(5, 60)):
        left, right = (draw.choice([*letters, *tokens[len(alphabet) :]]) for _ in range(2))
        if len(left + right) <= 8:
            merges.append(f"{left} {right}")
            if left + right not in tokens:
                tokens.append(left + right)
    merges += draw.choices(merges, k=3) if merges else []
    draw.shuffle(merges)
    tokens += [token for token in whole if token not in tokens]
    types = [CONTROL if draw.random() < 0.05 else NORMAL for _ in tokens]
    return keys(tokens=tokens, token_type=types, merges=merges)


@pytest.mark.parametrize("rule", ["gpt-2", "llama-bpe", "qwen2", "gemma4"])
def test_vocabularies_that_no_training_makes(rule: str) -> None:
    draw = random.Random(5)
    n_found = 0
    for _ in range(150):
        if RULES[rule].pieces:
            alphabet = ["a", "b", SPACE, "é", *(f"<0x{byte:02X}>" for byte in range(256) if draw.random() < 0.9)]
        else:
            alphabet = [char for char in ALPHABET if char in "abc" or draw.random() < 0.9]
        values = random_vocabulary(draw, alphabet, ["Ġcab", "abcabc", "cab"])
        kind = {"model": "gemma4"} if RULES[rule].pieces else {"model": "gpt2", "pre": rule}
        # Control tokens are known to the oracle as pyruntime finds them: it makes some of those that end a turn.
        ours, oracle = load_tokenizer(values | keys(**kind)), Oracle(values, RULES[rule])
        for _ in range(40):
            text = "".join(draw.choices("aaabbbccc é\u0301\x04", k=draw.randint(1, 30)))
            ids = ours.encode(text, add_special=False)
            assert ids == oracle.encode(text), (values["tokenizer.ggml.merges"], text)
            n_found += any(i >= len(alphabet) for i in ids)
    assert n_found > 2000, "merges take part"


def test_a_million_letters_are_one_word() -> None:
    """Merged to the end, in time n log n: 0.5 s of one core of a shared server."""
    tokens = [*ALPHABET, *("a" * 2**n for n in range(1, 15))]
    t = load_tokenizer(
        metadata(tokens=tokens, token_type=None, merges=[f"{m} {m}" for m in ("a" * 2**n for n in range(14))])
    )
    start = time.process_time()
    ids = t.encode("a" * 1_000_000, add_special=False)
    assert time.process_time() - start < 4
    assert len(ids) == 1_000_000 // 2**14 + bin(1_000_000 % 2**14).count("1")
