"""How text is cut into words before BPE merges inside them: one rule per `tokenizer.ggml.pre`.

A rule is a list of regular expressions. Each cuts every piece that the ones before it left; what matches and what lies
between matches become pieces of their own. llama.cpp gives the rules their names. Where it simplifies the expression of
the original tokenizer, the original is here; docs/tokenizers.md lists the differences, and the goldens compare ids.
"""

from __future__ import annotations

from dataclasses import dataclass

# The parts that many expressions share. (?i:'s) also takes U+017F (long s) for an s, as the originals do.
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
# White space up to its last newline: \s*[\r\n]+, but without trying every space for the last one.
_TO_NEWLINE = r"(?:[^\S\r\n]*+[\r\n]++)++"
_SPACES = rf"{_TO_NEWLINE}|\s+(?!\S)|\s+"
_REST = rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_CONTRACTION}|{_WORD}|\p{{N}}{{1,3}}|{_REST}"
_QWEN2 = rf"{_CONTRACTION}|{_WORD}|\p{{N}}|{_REST}"
_QWEN35 = (
    rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}"
)


# Words that end where a lower-case letter meets an upper-case one. With U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}] and
# L = [\p{Ll}\p{Lm}\p{Lo}\p{M}] the originals have U*L+|U+L*, which tries every letter of a long U for the first L.
# The same without that: U with a lower-case letter after it and its L; U up to its last letter without case; U.
def _camel(contraction: str, numbers: str, rest: str, but: str = "") -> str:
    upper, lower = rf"[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}{but}]", rf"[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}{but}]"
    both = rf"[\p{{Lm}}\p{{Lo}}\p{{M}}{but}]"
    start = r"[^\r\n\p{L}\p{N}]?"
    mixed = rf"(?:{upper}*+\p{{Ll}}{lower}*+|(?:[\p{{Lu}}\p{{Lt}}]*+{both}++)++)"
    return f"{start}{mixed}{contraction}|{start}{upper}++{contraction}|{numbers}|{rest}"


_O200K_REST = rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
_O200K = _camel(f"{_CONTRACTION}?", r"\p{N}{1,3}", _O200K_REST)
_TEKKEN = _camel("", r"\p{N}", _O200K_REST)
_YOUTU = _camel(f"{_CONTRACTION}?", r"\p{N}", _O200K_REST)
_KIMI_K2 = r"\p{Han}+|" + _camel(f"{_CONTRACTION}?", r"\p{N}{1,3}", _REST, but=r"&&[^\p{Han}]")

_ASCII_SYMBOLS = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"
_CJK = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_DEEPSEEK_V3 = (
    rf"{_ASCII_SYMBOLS}[A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}"
)
_SPARK = (
    rf"{_ASCII_SYMBOLS}[A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+| ?[\p{{P}}\p{{S}}]+"
    r"|[\r\n]|\s+(?!\S)|\s+"
)
_EAST_ASIAN = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
# Letters with case, in the selection that DeepSeek LLM was trained with: neither a category nor a version of Unicode.
_CASED = (
    "A-Za-z"
    "\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376"
    "\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f"
    "\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77"
    "\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d"
    "\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb"
    "\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"
    "\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4"
    "\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf"
    "\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    "\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
)
# Newlines stand alone. They are cut apart last, so that a million of them is one piece for the steps between.
_NEWLINES, _NEWLINE = r"[\r\n]+", r"[\r\n]"
_DEEPSEEK_LLM = (
    _NEWLINES,
    rf"\s?[{_CASED}]+",
    "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
    r"(?<!\s)\s++$",
    _EAST_ASIAN,
    r"\p{N}+",
    _NEWLINE,
)
_BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"
_EXAONE_MOE = (
    rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]?|{_SPACES}"
)
_SEED_CODER = rf"{_CONTRACTION}|{_WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACES}"
_LINES = r"[^\n]+|\n+"


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """A splitting rule and what comes with its name."""

    patterns: tuple[str, ...]
    ignore_merges: bool = False  # a word that is a token is taken whole, whatever the merges say
    add_bos: bool = False  # where tokenizer.ggml.add_bos_token is absent
    force_bos: bool = False  # even where the metadata says otherwise: early files of Gemma 4 were wrong
    nfc: bool = False  # the original tokenizer composes characters first (Unicode normalization form C)
    pieces: bool = False  # merges over characters with \u2581 for a space, not over bytes


def _named(names: str, *patterns: str, **options: bool) -> dict[str, PreTokenizer]:
    return dict.fromkeys(names.split(), PreTokenizer(patterns, **options))


RULES: dict[str, PreTokenizer] = {
    **_named("default", r"[\p{P}$+<=>^~|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"),
    **_named("falcon", r"[\p{P}$+<=>^~|`]+", _GPT2, r"[0-9][0-9][0-9]"),
    **_named("gpt-2 phi-2 jais trillion granite-docling exaone4 gigachat mellum a.x-4.0 modern-bert", _GPT2),
    **_named("roberta-bpe jina-v1-en jina-v2-code jina-v2-es jina-v2-de jina-es jina-de", _GPT2),
    **_named("gpt-neox olmo mpt", _GPT2, nfc=True),
    **_named("smollm starcoder refact codeshell exaone minerva-7b mellum2", r"\p{N}", _GPT2),
    **_named("command-r", r"\p{N}", _GPT2, nfc=True),
    **_named(
        "chameleon",
        r"<sentinel:[0-9]+>",
        r"IMGIMG[A-I]{1,4}Z",
        r"[\t\n]|    |  ",
        r"\p{N}",
        r"[\p{P}!-/:-@\[-`{-~]",
        _GPT2,
        add_bos=True,
    ),
    **_named(
        "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
        _LLAMA3,
        ignore_merges=True,
        add_bos=True,
    ),
    **_named("dbrx smaug-bpe smaug chatglm-bpe", _LLAMA3),
    **_named("glm4 glm5", _LLAMA3, ignore_merges=True),
    **_named("minicpm5", r"\p{N}{1,3}", rf"{_CONTRACTION}|{_WORD}|\p{{N}}+|{_REST}", ignore_merges=True),
    **_named("qwen2", _QWEN2, nfc=True),
    **_named(
        "deepseek-r1-qwen stablelm2 hunyuan megrez kormo f2llmv2 solar-open grok-2 bailingmoe bailingmoe2 llada-moe",
        _QWEN2,
    ),
    **_named("qwen35", _QWEN35, nfc=True),
    **_named("laguna", _LINES, _QWEN2),
    **_named("ufakzeka", rf"{_WORD}|\p{{N}}|{_REST}"),
    **_named("seed-coder", _SEED_CODER),
    **_named("exaone-moe", _EXAONE_MOE),
    **_named("gpt-4o o200k llama4 kanana2 talkie minimax-m2", _O200K),
    **_named("granite-embed-multi-97m", _O200K, ignore_merges=True),
    **_named("tekken", _TEKKEN, ignore_merges=True, add_bos=True),
    **_named(
        "youtu",
        "[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f\ufe30-\ufe4f]+"
        f"|[\u3105-\u312f]+|{_CJK}",
        _YOUTU,
        ignore_merges=True,
    ),
    **_named("kimi-k2", _KIMI_K2),
    **_named("deepseek-llm", *_DEEPSEEK_LLM),
    **_named("deepseek-coder", _NEWLINES, r"\s?\p{L}+", r"\s?\p{P}+", _EAST_ASIAN, r"\p{N}", _NEWLINE),
    **_named("deepseek-v3 hunyuan-dense joyai-llm hy_v4", r"\p{N}{1,3}", _CJK, _DEEPSEEK_V3),
    **_named("spark2_5", r"\p{N}{1,3}", _CJK, _SPARK, r"\p{N}"),
    **_named("poro-chat bloom gpt3-finnish", _BLOOM),
    **_named("viking", _BLOOM, r"\p{N}"),
    **_named("gemma4 granite-embed-multi-311m", _LINES, pieces=True, force_bos=True),
    **_named("sarvam-moe", _LINES, pieces=True),
}
