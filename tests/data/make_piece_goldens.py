"""Make tests/data/tokenizer/pieces.json.xz: small vocabularies of pieces, texts, and their ids by the originals and llama.cpp.

    pip install llama-cpp-python gguf numpy sentencepiece tokenizers
    python tests/data/make_piece_goldens.py GEMMA.gguf BERT_CHECKPOINT

Two SentencePiece models are trained here, on the texts themselves, and converted as llama.cpp's converter does. The
WordPiece vocabulary is the checkpoint's (all-MiniLM-L6-v2), cut down to the tokens that the texts use.
"""

from __future__ import annotations

import io
import json
import lzma
import sys
import tempfile
from pathlib import Path
from typing import Any

import gguf
import sentencepiece
import tokenizers
from llama_cpp import Llama
from tokenizer_texts import texts, written_lines

OUT = Path(__file__).parent / "tokenizer" / "pieces.json.xz"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
ADDED = {"<|im_start|>": CONTROL, "<|im_end|>": CONTROL, "<think>": USER_DEFINED}

MORE_TEXTS = [
    *("<think>", "<think> a", "a <think>", " <think>b<think> ", "<think></think>", "a    b        c", "     d", "    "),
    *("<s>", "</s>", "<s>a</s>", "<unk>", "a<unk> b", "<pad>", "<0x41>", "<0x0A><0xFF>", "<extra_id_0> x", "[CLS]", "[UNK] a"),
    *("[MASK] is [SEP]", "a[PAD]", "x" * 100 + " " + "y" * 101, "e\u0301" * 60, "ｆｕｌｌ　ｗｉｄｔｈ", "ﬁﬂ ㍿ ㌔ ① Ⅳ"),
    *("한국어 각", "\u1100\u1161\u11a8", "İI ıi ẞß ΑΣ", "\u00adsoft\u00adhyphen\u200b", "\ufeffbom", "a\u00a0b\u3000c\u2028d"),
    *("##ing ##", "don't can't I'm we've", "中a文1字", "〇々ー", "𠀀𪜀𫝀𫠝", "\u2fa1d\uf900", "$+<=>^`|~", "a\tb\nc\rd"),
    *("A" * 300, "▁", "▁▁a▁ b", "_▁_", " ▁ ", "\t\t", "\n", "\n\n\n\n", "1 + 1 = 2", "😀😃😄", "\x00", "a\x00b"),
]  # fmt: skip


def trained(**settings: Any) -> sentencepiece.SentencePieceProcessor:
    lines = (Path(__file__).parent / "topics-120k.txt").read_text().split("\n")
    lines += 3 * [line for line in written_lines() if not {"\n", "\0"} & {*line}]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=2000, character_coverage=0.9995, minloglevel=2,
        **settings,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def converted(model: sentencepiece.SentencePieceProcessor, added: dict[str, int]) -> dict[str, Any]:
    """The keys under `tokenizer.ggml.` that all SentencePiece models have, with tokens that were `added` later."""
    ids = range(model.get_piece_size())
    types = [
        UNKNOWN if model.is_unknown(i) else CONTROL if model.is_control(i) else UNUSED if model.is_unused(i)
        else BYTE if model.is_byte(i) else NORMAL for i in ids
    ]  # fmt: skip
    return {
        "tokens": [*map(model.id_to_piece, ids), *added],
        "scores": [*map(model.get_score, ids), *(-1000.0 for _ in added)],
        "token_type": [*types, *added.values()],
        "unknown_token_id": model.unk_id(),
        "eos_token_id": model.eos_id(),
    }


def charsmap(model: sentencepiece.SentencePieceProcessor) -> bytes:
    """`normalizer_spec.precompiled_charsmap`, of ModelProto's field 3."""
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model.serialized_model_proto())
    return proto.normalizer_spec.precompiled_charsmap


def write_gguf(path: Path, values: dict[str, Any]) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_pre("default")
    for key, value in values.items():
        name = f"tokenizer.ggml.{key}"
        if isinstance(value, list):
            writer.add_array(name, value)
        elif isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        elif isinstance(value, bytes):
            writer.add_array(name, value)
        else:
            writer.add_string(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def ask_llama_cpp(path: str | Path, questions: list[str]) -> dict[str, list[list[int]]]:
    llama = Llama(str(path), vocab_only=True, verbose=False)
    plain, parsed = (
        [llama.tokenize(text.encode(), add_bos=False, special=special) for text in questions]
        for special in (False, True)
    )
    whole = [llama.tokenize(text.encode(), add_bos=True, special=False) for text in questions[:20]]
    return {"llama.cpp": plain, "llama.cpp, parse_special": parsed, "llama.cpp, add_special": whole}


def answers(values: dict[str, Any], questions: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocabulary.gguf"
        write_gguf(path, values)
        return ask_llama_cpp(path, questions)


def by_original(model: Any, questions: list[str], added: dict[str, int]) -> list[list[int] | None]:
    """None for a text with a token that the model does not know."""
    return [None if any(map(text.__contains__, added)) else model.encode(text) for text in questions]


def spm(questions: list[str]) -> dict[str, Any]:
    model = trained(
        model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        split_digits=True, allow_whitespace_only_pieces=True,
    )  # fmt: skip
    added = ADDED | {"    ": USER_DEFINED}
    values = {"model": "llama", **converted(model, added), "bos_token_id": model.bos_id()}
    return {"metadata": values, **answers(values, questions), "sentencepiece": by_original(model, questions, added)}


def unigram(questions: list[str]) -> dict[str, Any]:
    model = trained(model_type="unigram", normalization_rule_name="nmt_nfkc", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    values = {
        "model": "t5", **converted(model, ADDED), "add_space_prefix": True, "remove_extra_whitespaces": True,
        "precompiled_charsmap": charsmap(model), "add_bos_token": False, "add_eos_token": True,
    }  # fmt: skip
    found = {**answers(values, questions), "sentencepiece": by_original(model, questions, ADDED)}
    return {"metadata": values | {"precompiled_charsmap": charsmap(model).hex()}, **found}


def wordpiece(checkpoint: Path, questions: list[str]) -> dict[str, Any]:
    """The original is what the checkpoint's tokenizer.json says, in the `tokenizers` library."""
    spec = json.loads((checkpoint / "tokenizer.json").read_text()) | {"truncation": None, "padding": None}
    vocab = spec["model"]["vocab"]
    original = tokenizers.Tokenizer.from_str(json.dumps(spec))
    used = {i for text in questions for i in original.encode(text).ids} | {
        token["id"] for token in spec["added_tokens"]
    }
    kept = [token for token, i in sorted(vocab.items(), key=lambda item: item[1]) if i in used]
    spec["model"]["vocab"] = {token: i for i, token in enumerate(kept)}
    special = {}
    for token in spec["added_tokens"]:
        token["id"] = special[token["content"]] = kept.index(token["content"])
    for token in spec["post_processor"]["special_tokens"].values():
        token["ids"] = [special[token["id"]]]
    original = tokenizers.Tokenizer.from_str(json.dumps(spec))
    values = {
        "model": "bert",
        "tokens": [t if t in special else t[2:] if t.startswith("##") else "▁" + t for t in kept],
        "token_type": [CONTROL if t in special else NORMAL for t in kept],
        "bos_token_id": special["[CLS]"], "seperator_token_id": special["[SEP]"],
        "unknown_token_id": special["[UNK]"], "padding_token_id": special["[PAD]"],
    }  # fmt: skip
    # What the original makes of a special token in a text is not asked: there it is always parsed.
    ids = [
        None if any(token in text for token in special) else original.encode(text, add_special_tokens=False).ids
        for text in questions
    ]
    return {"metadata": values, **answers(values, questions), "tokenizers": ids}


def main(gemma: str, checkpoint: str) -> None:
    import llama_cpp

    questions = list(dict.fromkeys([*texts(), *MORE_TEXTS]))
    value = {
        "made_by": f"llama-cpp-python {llama_cpp.__version__}, sentencepiece {sentencepiece.__version__},"
        f" tokenizers {tokenizers.__version__}",
        "texts": questions,
        "llama": spm(questions),
        "t5": unigram(questions),
        "bert": wordpiece(Path(checkpoint), questions),
        "gemma3-270m": ask_llama_cpp(gemma, questions),
    }
    for kind in ("llama", "t5", "bert", "gemma3-270m"):  # what a second oracle says the same is said once
        by_llama_cpp = value[kind]["llama.cpp"]
        for oracle in ("llama.cpp, parse_special", "sentencepiece", "tokenizers"):
            if oracle in value[kind]:
                pairs = enumerate(zip(by_llama_cpp, value[kind][oracle], strict=True))
                value[kind][oracle] = {str(i): other for i, (ids, other) in pairs if other != ids}
                print(kind, oracle, len(value[kind][oracle]), "of", len(questions), "differ from llama.cpp")
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    OUT.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    print(OUT, OUT.stat().st_size)


if __name__ == "__main__":
    main(*sys.argv[1:])
