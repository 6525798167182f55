"""SPM against llama.cpp and sentencepiece (stored ids), against naive merging written here, and against hostile metadata."""

import itertools
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from piece_goldens import check_streaming, metadata, rows, texts, tokenizer, with_special

from pyruntime.errors import GGUFError
from pyruntime.tokenizer import Tokenizer, load_tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def small(pieces: dict[str, float], bytes_: list[str] = BYTES, **changes: Any) -> Tokenizer:
    """<unk>, <s>, </s>, the bytes, then `pieces` with their scores."""
    tokens = ["<unk>", "<s>", "</s>", *bytes_, *pieces]
    values: dict[str, Any] = {
        "model": "llama",
        "tokens": tokens,
        "scores": [0.0] * (3 + len(bytes_)) + list(pieces.values()),
        "token_type": [UNKNOWN, CONTROL, CONTROL] + [BYTE] * len(bytes_) + [NORMAL] * len(pieces),
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
        "add_space_prefix": False,
    } | changes
    return load_tokenizer({f"tokenizer.ggml.{k}": v for k, v in values.items() if v is not None}, "m.gguf")


def pieces_of(t: Tokenizer, text: str, **options: Any) -> list[str]:
    return [t.token(i) for i in t.encode(text, add_special=False, **options)]


def naive_pieces(text: str, scores: dict[str, float]) -> list[str]:
    """Merge the neighbours whose joint piece scores best, the leftmost of equals, until there are none."""
    parts = [*text.replace(" ", "▁")]
    while joined := [(-scores[a + b], i) for i, (a, b) in enumerate(itertools.pairwise(parts)) if a + b in scores]:
        i = min(joined)[1]
        parts[i : i + 2] = ["".join(parts[i : i + 2])]
    bytes_ = ([part] if part in scores else [f"<0x{byte:02X}>" for byte in part.encode()] for part in parts)
    return [*itertools.chain.from_iterable(bytes_)]


@pytest.mark.parametrize(("oracle", "parsed"), [("llama.cpp", False), ("llama.cpp, parse_special", True)])
def test_equals_llama_cpp(oracle: str, parsed: bool) -> None:
    t = tokenizer("llama")
    for text, ids in rows("llama", oracle):
        assert t.encode(text, add_special=False, parse_special=parsed) == ids, repr(text)
    for text, ids in with_special("llama"):
        assert t.encode(text) == ids, repr(text)


def test_equals_sentencepiece() -> None:
    t = tokenizer("llama")
    compared = 0
    for text, ids in rows("llama", "sentencepiece"):
        assert t.encode(text, add_special=False) == ids, repr(text)
        compared += 1
    assert compared >= 2000


@pytest.mark.parametrize("n_scores", [1, 3, 1000])
def test_equals_naive_merging(n_scores: int) -> None:
    """Random vocabularies, in which scores tie and pieces hold characters that are no pieces themselves."""
    draw = random.Random(n_scores)
    for _ in range(60):
        words = {"".join(draw.choices("ab▁é中", k=draw.choice([1, 2, 2, 3, 3, 4, 5]))) for _ in range(40)}
        scores = {word: float(draw.randrange(-n_scores, 1)) for word in sorted(words)}
        t = small(scores)
        for _ in range(20):
            text = "".join(draw.choices("ab é中x", k=draw.randint(1, 30)))
            assert pieces_of(t, text) == naive_pieces(text, scores), (text, scores)


def test_round_trip_and_streaming() -> None:
    t = tokenizer("llama")
    for text in texts():
        ids = t.encode(text)
        if "<think>" not in text and "    " not in text:  # after a user-defined token, the space before a text stays
            assert t.decode(ids, skip_special=True) == text.replace("▁", " ")
        check_streaming(t, ids, skip_special=True)


def test_streaming_equals_decode_on_any_ids() -> None:
    t = tokenizer("llama")
    draw = random.Random(3)
    for _ in range(300):
        ids = draw.choices(range(3, 259), k=draw.randint(0, 6)) + draw.choices(range(t.n_vocab), k=draw.randint(0, 20))
        for skip, start in itertools.product((False, True), repeat=2):
            check_streaming(t, ids, skip_special=skip, at_start=start)


def test_stream_holds_back_half_a_character() -> None:
    t = small({})
    stream = t.stream_decoder()
    ids = t.encode("😀", add_special=False)
    assert [stream.push(i) for i in ids] == ["", "", "", "😀"]
    assert [stream.push(ids[0]), stream.push(ids[1]), stream.finish()] == ["", "", "\ufffd"]


def test_space_prefix() -> None:
    scores = {"▁": -1.0, "a": -2.0, "▁a": -3.0, "<t>": 0.0}
    types = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * 3 + [USER_DEFINED]
    for said in (None, True):
        t = small(scores, add_space_prefix=said, token_type=types)
        assert pieces_of(t, "a") == ["▁a"]
        assert pieces_of(t, " a") == ["▁", "▁a"]
        assert pieces_of(t, "a<s>a", parse_special=True) == ["▁a", "<s>", "▁a"]
        assert pieces_of(t, "<t>a<t>") == ["<t>", "▁a", "<t>"]
        for text in ("a", " a", "  a", "a a", "<t>"):
            assert t.decode(t.encode(text), skip_special=True) == text
        ids = t.encode("a", add_special=False)
        assert t.decode([*ids, *ids]) == "a a"
        assert t.decode(ids, at_start=False) == " a"
        assert t.encode("a", add_special=False, at_start=False) == [t.id_of("a")]
    t = small(scores, token_type=types)
    assert pieces_of(t, "a<s>a", parse_special=True) == ["a", "<s>", "a"]
    assert t.decode(t.encode(" a", add_special=False)) == " a"


def test_spaces_of_a_user_defined_token_are_its_own() -> None:
    t = tokenizer("llama")
    four = t.id_of("    ")
    ids = t.encode("    a", add_special=False)
    assert ids[0] == four
    assert t.decode([four, four]) == " " * 8


def test_user_defined_tokens_spelled_with_the_space_sign() -> None:
    """Older conversions of Gemma left ▁▁ as the original has it: the pieces are found in the text with its spaces."""
    types = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL, NORMAL, USER_DEFINED]
    t = small({"▁": -1.0, "a": -2.0, "▁▁": -1000.0}, token_type=types)
    assert pieces_of(t, "a   a") == ["a", "▁▁", "▁", "a"]
    assert t.decode(t.encode("a   a", add_special=False)) == "a   a"


def test_text_never_becomes_a_control_token() -> None:
    t = small({"<": 0.0, "s": 0.0, ">": 0.0, "<s": 0.0, "/": 0.0, "</": 0.0, "</s": 0.0, "<unk": 0.0})
    for text in ("<s>", "</s>", "<unk>", "a<s>b</s>"):
        assert not {0, 1, 2} & {*t.encode(text, add_special=False)}
        assert t.decode(t.encode(text, add_special=False)) == text
    assert t.encode("<s></s>", add_special=False, parse_special=True) == [1, 2]


def test_a_byte_is_never_taken_from_its_spelling() -> None:
    t = small(
        {"<": 0.0, "0": 0.0, "x": 0.0, "4": 0.0, "1": 0.0, ">": 0.0, "<0": 0.0, "<0x": 0.0, "<0x4": 0.0, "1>": 0.0}
    )
    assert pieces_of(t, "<0x41>") == ["<0x4", "1>"]
    assert pieces_of(t, "A") == ["<0x41>"]


def test_bytes_without_a_token() -> None:
    kept = [name for name in BYTES if name != "<0xC3>"]
    assert pieces_of(small({"a": 0.0}, kept), "aéa") == ["a", "<unk>", "<0xA9>", "a"]
    t = small({"a": 0.0}, kept, unknown_token_id=None, token_type=[CONTROL] * 3 + [BYTE] * 255 + [NORMAL])
    assert pieces_of(t, "aéa") == ["a", "<0xA9>", "a"]
    assert pieces_of(small({"a": 0.0}, []), "aéa") == ["a", "<unk>", "a"], "no bytes at all"


def test_a_file_without_types_has_bytes_by_their_names() -> None:
    t = small({"a": 0.0}, token_type=None)
    assert pieces_of(t, "aé") == ["a", "<0xC3>", "<0xA9>"]
    assert t.decode(t.encode("aé", add_special=False)) == "aé"


def test_unused_pieces_are_taken_apart_as_sentencepiece_does() -> None:
    t = small({"a": 0.0, "b": 0.0, "ab": 0.0}, token_type=[UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [1, 1, UNUSED])
    assert pieces_of(t, "ab") == ["a", "b"]
    assert t.decode([261]) == ""


def test_bos_and_eos() -> None:
    t = small({"a": 0.0})
    assert (t.add_bos, t.add_eos, t.encode(""), t.encode("a")) == (True, False, [1], [1, 259])
    t = small({"a": 0.0}, add_bos_token=False, add_eos_token=True)
    assert t.encode("a") == [259, 2]
    assert t.end_ids == {2}


def test_gemmas_html_is_text_and_ends_nothing() -> None:
    types = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [USER_DEFINED, USER_DEFINED, CONTROL]
    tokens = ["<unk>", "<bos>", "<eos>", *BYTES, "<s>", "</s>", "<end_of_turn>"]
    t = small({"1": 0.0, "2": 0.0, "3": 0.0}, tokens=tokens, token_type=types)
    assert pieces_of(t, "<s></s>") == ["<s>", "</s>"]
    assert t.end_ids == {2, 261}


def test_marks_hide_special_tokens_and_nothing_else() -> None:
    t = tokenizer("llama")
    mark = "\ufdd0"
    assert t.encode_with_mark(f"<s>a<{mark}/s>b</s>c", mark) == [
        *(t.id_of("<s>"), *t.encode("a</s>b", add_special=False)),
        *(t.id_of("</s>"), *t.encode("c", add_special=False)),
    ]
    for text in [text for text in texts() if mark not in text]:
        assert t.encode_with_mark(mark.join(text), mark) == t.encode(text, add_special=False)


def test_threads_share_a_tokenizer() -> None:
    t = tokenizer("llama")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(t.encode, texts()))
    alone = tokenizer("llama")
    assert found == [alone.encode(text) for text in texts()]


N = 3 + 256 + 1
MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({"scores": None}, "tokenizer.ggml.scores is missing"),
    ({"scores": [0.0]}, f"tokenizer.ggml.scores has 1 entries for {N} tokens"),
    ({"scores": ["x"] * N}, "tokenizer.ggml.scores is not an array of floating-point numbers"),
    ({"scores": np.zeros(N, np.int32)}, "tokenizer.ggml.scores is not an array of floating-point numbers"),
    ({"scores": np.full(N, np.nan, np.float32)}, "tokenizer.ggml.scores[0] is nan"),
    ({"scores": [0.0] * (N - 1) + [1e300]}, f"tokenizer.ggml.scores[{N - 1}] is 1e+300"),
    ({"unknown_token_id": N}, f"tokenizer.ggml.unknown_token_id is {N}, outside the vocabulary of {N} tokens"),
    ({"add_space_prefix": 1}, "tokenizer.ggml.add_space_prefix is of type int, not bool"),
    ({"token_type": [CONTROL] * N}, "tokenizer.ggml.tokens[3] is the byte <0x00> and a control or the unknown token"),
    ({"unknown_token_id": 4}, "tokenizer.ggml.tokens[4] is the byte <0x01> and a control or the unknown token"),
    (
        {"token_type": [BYTE] * N, "unknown_token_id": None},
        "tokenizer.ggml.tokens[0] is of type BYTE, but '<unk>' is none of <0x00> to <0xFF>",
    ),
]


@pytest.mark.parametrize(("changes", "message"), MALFORMED, ids=[message for _, message in MALFORMED])
def test_malformed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(GGUFError) as error:
        small({"a": 0.0}, **changes)
    assert str(error.value) == f"m.gguf: {message}"


def test_odd_vocabularies_still_encode() -> None:
    """Types that nobody defined, two unknown tokens, pieces with NUL or very long: none of it may stop the library."""
    pieces = {"\0": 0.0, "a\0b": 0.0, "a": 0.0, "x" * 4000: -3.4e38, "[UNK]": 0.0, "": 1.0, "b": 3.4e38}
    types = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [0, NORMAL, 77, -5, UNKNOWN, NORMAL, 2**31 - 1]
    t = small(pieces, token_type=types)
    for text in ("a\0b", "\0", "x" * 1000, "ab", "[EMPTY_264]"):
        assert t.decode(t.encode(text, add_special=False)) == text


def test_what_the_library_refuses_is_said_in_one_line() -> None:
    t = small({"x" * 100_000: 0.0})
    with pytest.raises(GGUFError, match=r"^m.gguf: tokenizer.ggml.\* makes no SentencePiece model: .*too long"):
        t.encode("x")


def test_every_mutation_loads_or_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    draw = random.Random(4)
    good = metadata("llama")
    for _ in range(60):
        changed = dict(good)
        key = f"tokenizer.ggml.{draw.choice(['tokens', 'scores', 'token_type'])}"
        values = list(changed[key])
        for _ in range(draw.randint(1, 4)):
            other = draw.choice([values[draw.randrange(len(values))], values[0] * 0, values[1] * 3])
            values[draw.randrange(len(values))] = other
        changed[key] = values
        try:
            t = load_tokenizer(changed)
            ids = t.encode("The quick brown fox 中文😀\0", parse_special=True)
        except GGUFError:
            continue
        assert all(0 <= i < t.n_vocab for i in ids)
        t.decode(ids)
    assert capfd.readouterr() == ("", ""), "the library writes nothing"


@pytest.mark.parametrize("unit", ["a", " ", "中", "é", "!", "\0", "\U000f0000", "ab ", "<think>", "\n"])
def test_time_is_linear(unit: str) -> None:
    """A million bytes of one kind: a quadratic algorithm would take hours."""
    t = tokenizer("llama")
    text = unit * (1_000_000 // len(unit.encode()))
    start = time.perf_counter()
    ids = t.encode(text)
    assert time.perf_counter() - start < 5  # 0.1 to 0.9 s on a quiet machine
    assert t.decode(ids, skip_special=True) == text


@pytest.fixture(scope="module")
def gemma(real_model: Callable[[str], Path]) -> Tokenizer:
    return Tokenizer.from_gguf(str(real_model("gemma3-270m")))


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.parametrize(("oracle", "parsed"), [("llama.cpp", False), ("llama.cpp, parse_special", True)])
def test_gemma_equals_llama_cpp(gemma: Tokenizer, oracle: str, parsed: bool) -> None:
    for text, ids in rows("gemma3-270m", oracle):
        if "</s>" not in text:  # llama.cpp takes it for an end of text
            assert gemma.encode(text, add_special=False, parse_special=parsed) == ids, repr(text)
        found = gemma.encode(text)
        assert found[0] == gemma.bos_id
        assert gemma.decode(found, skip_special=True) == text.replace("▁", " ")
        check_streaming(gemma, found, skip_special=True)


@pytest.mark.slow
@pytest.mark.model
def test_gemmas_vocabulary(gemma: Tokenizer) -> None:
    assert (gemma.n_vocab, gemma.bos_id, gemma.eos_id, gemma.add_bos, gemma.add_eos) == (262144, 2, 1, True, False)
    assert {gemma.token(i) for i in gemma.end_ids} == {"<eos>", "<end_of_turn>"}
    assert pieces_of(gemma, "a</s>b") == ["a", "</s>", "b"]
    assert pieces_of(gemma, "\n" * 33 + "x" + " " * 33 + "y") == ["\n" * 31, "\n\n", "x", " " * 31, "  ", "y"]
