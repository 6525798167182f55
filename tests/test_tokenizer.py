"""Tokenizers as they are used: encoding, decoding, streaming, and hostile metadata."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from tokenizer_vocabulary import (
    ALPHABET,
    NORMAL,
    UNUSED,
    any_texts,
    metadata,
    random_texts,
    small,
)

import pyruntime
from pyruntime.errors import GGUFError, UnsupportedError


def test_round_trip_and_streaming() -> None:
    t = small()
    for text in [*random_texts(200), *any_texts(200)]:
        ids = t.encode(text)
        assert t.decode(ids) == text
        stream = t.stream_decoder()
        assert "".join(map(stream.push, ids)) + stream.finish() == text


def test_streaming_equals_decode_on_any_ids() -> None:
    t = small()
    draw = random.Random(3)
    stream = t.stream_decoder(skip_special=False)
    for _ in range(300):
        ids = draw.choices(range(t.n_vocab), k=draw.randint(0, 30))
        pieces = [*map(stream.push, ids), stream.finish()]
        assert "".join(pieces) == t.decode(ids) == t.decode_bytes(ids).decode("utf-8", "replace")


def test_stream_holds_back_half_a_character() -> None:
    t = small()
    stream = t.stream_decoder()
    ids = [t.id_of(ALPHABET[byte]) or 0 for byte in "😀".encode()]
    assert [stream.push(i) for i in ids] == ["", "", "", "😀"]
    assert [stream.push(ids[0]), stream.push(ids[1]), stream.finish(), stream.finish()] == ["", "", "\ufffd", ""]


def test_bos_and_eos() -> None:
    t = small(add_bos_token=True, add_eos_token=True)
    assert (t.add_bos, t.add_eos, t.bos_id, t.eos_id) == (True, True, 3, 1)
    assert t.encode("") == [3, 1]
    assert t.encode("", add_special=False) == []
    assert small(pre="llama-bpe").add_bos, "comes with the rule"
    assert not small(pre="llama-bpe", add_bos_token=False).add_bos
    with pytest.warns(UserWarning, match=r"^m.gguf: tokenizer.ggml.add_bos_token is true, but"):
        assert not small(bos_token_id=None, add_bos_token=True).add_bos


def test_gemma4_has_bos_even_if_the_file_says_otherwise() -> None:
    assert small(model="gemma4", add_bos_token=False).encode("") == [3]
    assert not small(model="gemma4", bos_token_id=None).add_bos
    assert not small(pre="sarvam-moe").add_bos


def test_ends() -> None:
    assert small().end_ids == {1}
    assert small(eot_token_id=2).end_ids == {1, 2}
    assert small(eos_token_id=None).end_ids == {1}, "<|im_end|> by its name"
    tokens = [*ALPHABET, "</", "</s", "</s>"]
    t = small(tokens=tokens, token_type=None, merges=["< /", "</ s", "</s >"])
    assert t.end_ids == {1}, "what merges make is text"
    assert small(tokens=tokens, token_type=None, merges=["< /", "</ s"]).end_ids == {1, 258}


def test_wrong_arguments() -> None:
    t = small()
    with pytest.raises(TypeError, match="text must be str, not bytes"):
        t.encode(b"x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lone surrogate at position 1"):
        t.encode("a\ud800")
    for wrong in (-1, t.n_vocab, 2**40):
        with pytest.raises(ValueError, match=rf"token id {wrong} is outside the vocabulary \(0 to {t.n_vocab - 1}\)"):
            t.decode([wrong])
    with pytest.raises(ValueError, match="token id"):
        t.token(-1)
    assert t.decode(np.array([1], np.int64)) == "<|im_end|>"
    assert (t.token(1), t.id_of("<|im_end|>"), t.id_of("no such token")) == ("<|im_end|>", 1, None)
    assert t.special_tokens == {"<|im_start|>": 0, "<|im_end|>": 1, "<s>": 3}


def test_unknown_rules_and_kinds_load() -> None:
    t = small(pre="marsian")
    assert t.decode([1]) == "<|im_end|>"
    with pytest.raises(UnsupportedError, match=r"^m.gguf: pre-tokenizer 'marsian' .* pass ids"):
        t.encode("x")
    t = small(model="rwkv", merges=None)
    assert t.token(1) == "<|im_end|>"
    with pytest.raises(UnsupportedError, match=r"^m.gguf: tokenizer kind 'rwkv' .* pass ids"):
        t.encode("x")
    with pytest.raises(UnsupportedError, match="tokenizer kind 'rwkv'"):
        t.decode([1])
    with pytest.warns(UserWarning, match=r"^m.gguf: tokenizer.ggml.pre is missing: .*'default'"):
        t = small(pre=None)
    assert t.decode(t.encode("ok")) == "ok"


def test_tokens_outside_the_byte_alphabet() -> None:
    t = small(tokens=[*ALPHABET, "a b", "", "pad"], token_type=[NORMAL] * 258 + [UNUSED], merges=[])
    assert t.decode([256, 258]) == "a b"
    assert t.token(257) == "[EMPTY_257]"


N = len(metadata()["tokenizer.ggml.tokens"])
MALFORMED = [
    ({"model": None}, "tokenizer.ggml.model is missing"),
    ({"model": 3}, "tokenizer.ggml.model is of type int, not str"),
    ({"tokens": None}, "tokenizer.ggml.tokens is missing"),
    ({"tokens": []}, "tokenizer.ggml.tokens is empty"),
    ({"tokens": "abc"}, "tokenizer.ggml.tokens is of type str, not list"),
    ({"tokens": [*ALPHABET, 5]}, "tokenizer.ggml.tokens[256] is of type int, not str"),
    ({"tokens": ["a", "b", "a"]}, "tokenizer.ggml.tokens holds 'a' twice, as 0 and 2"),
    ({"tokens": ["c", "b", "a", "a", "b", "b"]}, "tokenizer.ggml.tokens holds 'b' twice, as 1 and 5"),
    ({"tokens": ["a", "\ud800"]}, "tokenizer.ggml.tokens holds '\\ud800', which has a lone surrogate"),
    ({"token_type": [1, 2]}, f"tokenizer.ggml.token_type has 2 entries for {N} tokens"),
    ({"token_type": np.zeros(N)}, "tokenizer.ggml.token_type is not an array of integers"),
    ({"token_type": "x" * N}, "tokenizer.ggml.token_type is not an array of integers"),
    ({"merges": None}, "tokenizer.ggml.merges is missing"),
    ({"merges": ["th"]}, "tokenizer.ggml.merges[0] is 'th', not two tokens with a space between"),
    ({"merges": ["t h e"]}, "tokenizer.ggml.merges[0] names 'h e', which is not a token"),
    ({"merges": [" h"]}, "tokenizer.ggml.merges[0] is ' h', not two tokens with a space between"),
    ({"merges": ["q q"]}, "tokenizer.ggml.merges[0] names 'qq', which is not a token"),
    ({"merges": ["xyz q"]}, "tokenizer.ggml.merges[0] names 'xyz', which is not a token"),
    ({"bos_token_id": N}, f"tokenizer.ggml.bos_token_id is {N}, outside the vocabulary of {N} tokens"),
    ({"eos_token_id": -1}, f"tokenizer.ggml.eos_token_id is -1, outside the vocabulary of {N} tokens"),
    ({"eot_token_id": "x"}, "tokenizer.ggml.eot_token_id is of type str, not int"),
    ({"padding_token_id": True}, f"tokenizer.ggml.padding_token_id is True, outside the vocabulary of {N} tokens"),
    ({"add_bos_token": 1}, "tokenizer.ggml.add_bos_token is of type int, not bool"),
]


@pytest.mark.parametrize(("changes", "message"), MALFORMED, ids=[message for _, message in MALFORMED])
def test_malformed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(GGUFError) as error:
        small(**changes)
    assert str(error.value) == f"m.gguf: {message}"


def test_import_is_cheap() -> None:
    code = (
        "import sys, pyruntime.tokenizer, pyruntime.chat_template;"
        " print({'tokenizers', 'sentencepiece', 'minijinja'} & {*sys.modules})"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "set()"


def test_from_gguf_needs_no_tensors(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    values = metadata()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(values["tokenizer.ggml.tokens"])
    writer.add_token_types(values["tokenizer.ggml.token_type"].tolist())
    writer.add_token_merges(values["tokenizer.ggml.merges"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    t = pyruntime.Tokenizer.from_gguf(str(path))
    for text in random_texts(50):
        assert t.encode(text) == small().encode(text)
    with pytest.raises(GGUFError, match=r"nowhere\.gguf"):
        pyruntime.Tokenizer.from_gguf(str(tmp_path / "nowhere.gguf"))
