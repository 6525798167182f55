"""Every splitting rule against stored ids: of llama.cpp, and of the original tokenizers' expressions run by `regex`."""

import functools
import gzip
import itertools
import json
import re
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from pyruntime.tokenizer import Tokenizer, load_tokenizer
from pyruntime.tokenizer.pretokenizers import RULES

GOLDENS = Path(__file__).parent / "data" / "tokenizer" / "bpe.json.gz"
DOCUMENT = Path(__file__).parent.parent / "docs" / "tokenizers.md"


@functools.cache
def goldens() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(gzip.decompress(GOLDENS.read_bytes()))
    return value


def tokenizer(rule: str) -> Tokenizer:
    if rule == "gemma4":
        tokens, types, merges = goldens()["gemma"]
        return load_tokenizer(keys(model="gemma4", tokens=tokens, token_type=types, merges=merges, bos_token_id=0))
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = itertools.count(0x100)
    tokens = [chr(byte if byte in visible else next(hidden)) for byte in range(256)]
    pairs = goldens()["merges"]
    tokens += [*("".join(pair) for pair in pairs), *goldens()["whole"]]
    return load_tokenizer(keys(model="gpt2", pre=rule, tokens=tokens, merges=[" ".join(pair) for pair in pairs]))


def keys(**values: Any) -> dict[str, Any]:
    return {f"tokenizer.ggml.{key}": value for key, value in values.items()}


@functools.cache
def expected(rule: str) -> list[list[int]]:
    column = [*goldens()["rules"]].index(rule)
    return [different[which[column]] for different, which in goldens()["ids"]]


@pytest.mark.parametrize("rule", goldens()["rules"])
def test_ids(rule: str) -> None:
    t = tokenizer(rule)
    wrong = [
        (text, t.encode(text, add_special=False), ids)
        for text, ids in zip(goldens()["texts"], expected(rule), strict=True)
        if t.encode(text, add_special=False) != ids
    ]
    assert not wrong, (len(wrong), wrong[0])


@pytest.mark.parametrize("rule", goldens()["rules"])
def test_decoding_gives_the_text_back(rule: str) -> None:
    t = tokenizer(rule)
    stream = t.stream_decoder()
    for text, ids in zip(goldens()["texts"], expected(rule), strict=True):
        if RULES[rule].nfc:
            text = unicodedata.normalize("NFC", text)
        if RULES[rule].pieces:
            text = text.replace("\u2581", " ")
        assert t.decode(ids) == text
        assert "".join(map(stream.push, ids)) + stream.finish() == text


@pytest.mark.parametrize("unit", ["a", " ", "中", "\u0e01", "\n", "a\n"])
def test_a_million_bytes_of_one_kind_are_one_word_of_gemma4(unit: str) -> None:
    """0.5 s of one core of a shared server; a quadratic algorithm would take hours."""
    t = tokenizer("gemma4")
    text = unit * (1_000_000 // len(unit.encode()))
    start = time.process_time()
    ids = t.encode(text)
    assert time.process_time() - start < 4
    assert t.decode(ids, skip_special=True).removeprefix("\0") == text  # its BOS is the byte 0 here


def test_rules_are_told_apart() -> None:
    """Each rule gives ids of its own for some text, but for those that are the same with another name."""
    columns = {rule: json.dumps(expected(rule)) for rule in goldens()["rules"]}
    same = {"bailingmoe": "deepseek-r1-qwen", "glm4": "llama-bpe"}  # but for the BOS that the second adds
    names = [rule for rule in columns if rule not in same]
    assert len({columns[rule] for rule in names}) == len(names) >= 25
    assert len(goldens()["texts"]) >= 2000


def test_names_of_one_rule() -> None:
    """As llama.cpp groups them; composing first (NFC) is the original tokenizers' and not there."""
    for rule, aliases in goldens()["aliases"].items():
        for alias in aliases:
            assert (RULES[alias].patterns, RULES[alias].ignore_merges) == (
                RULES[rule].patterns,
                RULES[rule].ignore_merges,
            )
    listed = {*goldens()["rules"], *itertools.chain(*goldens()["aliases"].values())}
    synonyms = {"gpt-neox": "olmo", "smaug": "smaug-bpe", "o200k": "gpt-4o"}  # in issues and other runtimes
    synonyms |= {"granite-embed-multi-311m": "gemma4", "sarvam-moe": "gemma4"}  # of vocabularies like it
    assert all(RULES[name].patterns == RULES[synonyms[name]].patterns for name in synonyms)
    assert {*RULES} == {*listed, *synonyms}


def test_where_llama_cpp_departs_is_documented() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    table = text[text.index("### Where llama.cpp departs") : text.index("## Special tokens")]
    rows = [row.split("|")[1:4] for row in table.splitlines() if row.startswith("| `")]
    documented = {name for row in rows for name in re.findall("`(.*?)`", row[0])}
    departing = {rule: texts for rule, texts in goldens()["rules"].items() if texts}
    assert documented == {*departing, "mpt", "gpt-neox"}
    for rule, texts in departing.items():
        if RULES[rule].nfc:
            assert all(
                unicodedata.normalize("NFC", text) != text for text in map(goldens()["texts"].__getitem__, texts)
            )
