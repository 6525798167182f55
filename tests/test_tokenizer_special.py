"""Special tokens: which end a turn, which take spaces with them, against llama.cpp's answers; and where we part from it."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tokenizer_vocabulary import ALPHABET, CONTROL, NORMAL, USER_DEFINED, random_texts, small

from pyruntime.tokenizer import Tokenizer

GOLDENS = Path(__file__).parent / "data" / "tokenizer" / "special.json"
ROWS = json.loads(GOLDENS.read_text())["rows"]

# llama.cpp makes these user-defined, so that they are shown; then any text could spell them, too.
KEPT_CONTROL = {"gpt-oss", "solar-open"}


def of(row: dict[str, Any]) -> Tokenizer:
    tokens = [*ALPHABET, *(token for token, _ in row["special"])]
    types = [NORMAL] * 256 + [kind for _, kind in row["special"]]
    keys = {"pre": "gpt-2", "bos_token_id": 0, "eos_token_id": 1} | row["keys"]
    return small(tokens=tokens, token_type=types, merges=[], **keys)


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_ends(row: dict[str, Any]) -> None:
    assert of(row).end_ids == {*row["ends"]}


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_special_tokens_in_texts(row: dict[str, Any]) -> None:
    t = of(row)
    for text, plain, parsed in row["texts"]:
        assert t.encode(text, add_special=False, parse_special=True) == parsed, repr(text)
        if row["name"] not in KEPT_CONTROL:
            assert t.encode(text, add_special=False) == plain, repr(text)
        else:
            assert max(t.encode(text, add_special=False)) < 256


def test_special_tokens_by_who_asks() -> None:
    t = small()
    start, end, think = 0, 1, 2
    assert t.encode("<|im_start|><think>", parse_special=True) == [start, think]
    plain = t.encode("<|im_start|><think>")
    assert start not in plain
    assert plain[-1] == think, "user-defined tokens are parsed in any text"
    assert t.decode([start, think, end]) == "<|im_start|><think><|im_end|>"
    assert t.decode([start, think, end], skip_special=True) == "<think>"
    assert t.stream_decoder().push(end) == ""


def test_longer_special_tokens_come_first_wherever_they_stand() -> None:
    tokens = [*ALPHABET, "<ab>", "b><cd>", "<ab>x"]
    t = small(tokens=tokens, token_type=[NORMAL] * 256 + [CONTROL] * 3, merges=[])
    assert t.encode("<ab><cd>", add_special=False, parse_special=True) == [*t.encode("<a", False), 257]
    assert t.encode("<ab>x<ab>", add_special=False, parse_special=True) == [258, 256]


def test_text_never_becomes_a_control_token() -> None:
    tokens = [*ALPHABET, "ab", "abc", "abcd"]
    t = small(tokens=tokens, token_type=[NORMAL] * 257 + [CONTROL, NORMAL], merges=["a b", "ab c", "abc d"])
    assert t.encode("abcd", add_special=False) == [256, ord("c"), ord("d")]
    whole = small(pre="llama-bpe", tokens=tokens, token_type=[NORMAL] * 256 + [CONTROL] * 3, merges=[])
    assert max(whole.encode("abc abcd", add_special=False)) < 256, "nor as a whole word"


def test_marks_hide_special_tokens_and_nothing_else() -> None:
    t = small()
    mark = "\ufdd0"
    ids = t.encode_with_mark(f"<|im_start|>a<{mark}|im_end|>b<|im_end|>", mark)
    assert ids == [0, *t.encode("a<|im_end|>b", add_special=False), 1]
    for text in random_texts(50):
        marked = mark.join(text)
        assert t.encode_with_mark(marked, mark) == t.encode(text, add_special=False)
    assert t.encode_with_mark(f"<thi{mark}nk>", mark) == [2], "user-defined tokens show through"


def test_html_is_not_an_end() -> None:
    tokens = [*ALPHABET, "<s>", "</s>"]
    t = small(tokens=tokens, token_type=[NORMAL] * 256 + [USER_DEFINED] * 2, merges=[], eos_token_id=None)
    assert t.end_ids == frozenset()
    assert t.encode("a</s>", add_special=False)[-1] == 257


def test_what_merges_make_is_text() -> None:
    tokens = [*ALPHABET, "</", "</s", "</s>"]
    t = small(tokens=tokens, token_type=None, merges=["< /", "</ s", "</s >"])
    assert t.end_ids == {1}
    assert t.encode("</s>", add_special=False, parse_special=True) == t.encode("</s>", add_special=False) != [258]
    assert small(tokens=tokens, token_type=None, merges=["< /", "</ s"]).end_ids == {1, 258}


def test_white_space_that_a_token_takes_leaves_no_trace_of_marks() -> None:
    tokens = [*ALPHABET, "<mask>"]
    t = small(pre="jina-v2-de", tokens=tokens, token_type=[NORMAL] * 256 + [CONTROL], merges=[])
    assert t.encode_with_mark("a \ufdd0 <mask>", "\ufdd0") == [*t.encode("a", add_special=False), 256]


def test_thousands_of_special_tokens_are_found_fast() -> None:
    names = [f"<unused{i}>" for i in range(6000)] + [" " * n for n in range(2, 32)]
    tokens = [*ALPHABET, *names]
    t = small(tokens=tokens, token_type=[NORMAL] * 256 + [USER_DEFINED] * len(names), merges=[])
    for text in ("word " * 40_000, " " * 200_000, "<unused7> " * 20_000):
        start = time.process_time()
        ids = t.encode(text, add_special=False)
        assert time.process_time() - start < 2
        assert t.decode(ids) == text
