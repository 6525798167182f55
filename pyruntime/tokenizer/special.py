"""What files do not say about their special tokens, and llama.cpp knows by name: which end a turn, which take spaces.

The lists are llama.cpp's, and so are the exceptions. Unlike there, a token that merges make stays text (Qwen's </s> is
HTML), and no token becomes user-defined, which any text could then spell (gpt-oss's <|start|> and <|channel|>).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pyruntime.tokenizer.token_type import TokenType

_ENDS = frozenset(
    [
        *("<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>"),
        *("<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<eos>"),
        *("<end_of_utterance>", "<turn|>", "<|tool_response>", "<｜end▁of▁sentence｜>", "[e~["),
    ]
)
# Tokens of fill-in-the-middle, by the metadata key that may name one instead. A file or repository that begins ends, too.
_FIM = {
    "fim_pre": (
        "<|fim_prefix|>",
        "<fim-prefix>",
        "<fim_prefix>",
        "<｜fim▁begin｜>",
        "<PRE>",
        "▁<PRE>",
        "<|code_prefix|>",
        "<|prefix|>",
    ),
    "fim_suf": (
        "<|fim_suffix|>",
        "<fim-suffix>",
        "<fim_suffix>",
        "<｜fim▁hole｜>",
        "<SUF>",
        "▁<SUF>",
        "<|code_suffix|>",
        "<|suffix|>",
    ),
    "fim_mid": (
        "<|fim_middle|>",
        "<fim-middle>",
        "<fim_middle>",
        "<｜fim▁end｜>",
        "<MID>",
        "▁<MID>",
        "<|code_middle|>",
        "<|middle|>",
    ),
    "fim_pad": ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
    "fim_rep": ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
    "fim_sep": ("<|file_sep|>",),
}
_FIM_ENDS = ("fim_pad", "fim_rep", "fim_sep")
NAMED_IDS = ("bos", "eos", "eot", "eom", "unknown", "padding", *_FIM)  # <name>_token_id in the metadata
NAMES = frozenset([*_ENDS, *(name for names in _FIM.values() for name in names)])

Find = Callable[[str], int | None]


def find_ends(find: Find, types: bytearray, named: Mapping[str, int | None], makes: Callable[[int], bool]) -> set[int]:
    """The tokens that end a turn. Makes tokens of these lists control tokens, which files often get wrong.

    `find`: the id of a token; `types`: of each token, changed in place; `named`: the ids of NAMED_IDS in the metadata;
    `makes`: whether merges make a token, which then is text.
    """
    present = {name: i for name in NAMES if (i := find(name)) is not None and not makes(i)}
    html = [i for name in ("<s>", "</s>") if (i := find(name)) is not None and types[i] == TokenType.USER_DEFINED]
    if len(html) == 2:  # Gemma's: any text may hold them, and they end nothing
        present.pop("</s>", None)

    ends = {present[name] for name in _ENDS if name in present}
    control = set(ends)
    for key, names in _FIM.items():
        given = named.get(key)
        found = [present[name] for name in names if name in present] if given is None else [given]
        control.update(found if given is None else [])
        ends.update(found if key in _FIM_ENDS else [])
    for i in control:
        types[i] = TokenType.CONTROL
    ends.update(end for key in ("eos", "eot", "eom") if (end := named.get(key)) is not None)

    def all_end(*names: str) -> bool:
        return all(find(name) in ends for name in names)

    calls = all_end("<|call|>") or all_end("<|calls|>")
    if calls and (all_end("<|return|>") or all_end("<|flush|>")):
        ends.difference_update({find("<|end|>")})  # it ends a message of gpt-oss or Solar, of which a turn has several
    html_end = find("</s>")
    if html_end is not None and all_end("<|tool_response>", "</s>"):
        ends.discard(html_end)  # Gemma 4's is HTML
        types[html_end] = TokenType.NORMAL
    return ends


def find_strips(find: Find, types: bytearray, model: str, architecture: str, pre: str) -> dict[int, tuple[bool, bool]]:
    """Special tokens that take the white space to their (left, right) with them, by the names of model and rule.

    `find`: the id of a token.
    """
    mask = None
    if any(name in pre for name in ("jina-v2-de", "jina-v2-es", "jina-v2-code")) or any(
        name in architecture for name in ("nomic-bert-moe", "jina-bert-v3")
    ):
        mask = find("<mask>")
    elif any(name in model.lower() for name in ("phi-3", "phi3")):
        special = (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN)
        keep = {find(name) for name in ("<unk>", "<s>", "<|endoftext|>")}
        return {i: (False, True) for i, kind in enumerate(types) if kind in special and i not in keep}
    elif "modern-bert" in model.lower():
        mask = find("[MASK]")
    return {} if mask is None else {mask: (True, False)}
