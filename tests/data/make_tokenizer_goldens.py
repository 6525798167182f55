"""Make tests/data/tokenizer/*.json: token ids by llama.cpp, for the tests to compare with.

    pip install llama-cpp-python gguf numpy
    python tests/data/make_tokenizer_goldens.py MODEL.gguf

MODEL is the default model (SmolLM2). The other pre-tokenizers are asked with its vocabulary under their names, in
vocabulary-only files that are thrown away. EXTRA goes into these, so that what a rule does to numbers and to
combining marks shows, and which rules take a word whole that no merge makes.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import gguf
from llama_cpp import Llama

OUT = Path(__file__).parent / "tokenizer"
RULES = ("default", "gpt-2", "smollm", "llama-bpe", "dbrx", "qwen2", "qwen35", "deepseek-v3")

DIGITS = "0123456789"
EXTRA_MERGES = [
    *(f"{a} {b}" for a in DIGITS for b in DIGITS),
    *(f"{a}{b} {c}" for a in "123" for b in "123" for c in DIGITS),
    *("12 34", "33 33", "11 11", "56 78", "10 00"),
    "e Ì",  # e and the first byte of U+0301, the combining acute
]
EXTRA_TOKENS = [*(merge.replace(" ", "") for merge in EXTRA_MERGES), "ĠCamelCase"]

LINES = """\
Hello, world!
The quick brown fox jumps over the lazy dog. It's 12:45 o'clock, isn't it?
I'll we've they're I'm he'd she'S WE'RE it'S don'T 'tis 'twas rock'n'roll ''' 's'
naïve café Ångström façade Œuvre ß ẞ ﬁ ﬀ İstanbul ıI
Привет, мир! Как дела? Ёлка и ъ.
Γειά σου Κόσμε — ἀρχή, ὕδωρ
שלום עולם! בְּרֵאשִׁית
مرحبا بالعالم، ١٢٣ كيف حالك؟
नमस्ते दुनिया। क्षत्रिय १२३
வணக்கம் உலகம்! తెలుగు ಕನ್ನಡ മലയാളം සිංහල
สวัสดีชาวโลก ๑๒๓ ລາວ ភាសាខ្មែរ မြန်မာ
你好，世界！汉字漢字。
こんにちは、世界！カタカナ ｶﾀｶﾅ ー々〆
안녕하세요 세계! 한글 ㄱㄴㄷ
ქართული Հայերեն አማርኛ ᏣᎳᎩ ᐃᓄᒃᑎᑐᑦ ᚠᚢᚦ 𐍈 𒀀 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟘𝟙𝟚
👨‍👩‍👧‍👦 👩🏽‍🚀 🏳️‍🌈 🇩🇪🇯🇵 ☕️ ✌🏿 1️⃣ ❤️‍🔥
e\u0301 a\u0308o\u0304 Z\u0351\u036b\u0343a\u0334\u030a\u0313l\u0338\u0346g\u0322o\u033f \u0301alone
Việt Nam tiếng Việt đường Łódź žluťoučký kůň
½ ⅓ Ⅷ ⅷ ① ㊿ 五 ٣ ² ³ ₄ 𝟙 ৳ ൧
0 00 123 1234 12345 1234567890 3.14159 1e-10 0xDEADBEEF 1,000,000 v1.2.3 x86_64 utf8
def f(x: int) -> int:\\n    return x ** 2  # squared\\n
for (int i = 0; i < n; ++i) {\\n\\tsum += a[i] * b[i];\\n}\\n
<html><body class="a">&amp; <!-- c --></body></html>
SELECT * FROM t WHERE a <> 'b' AND c >= 10; -- done
{"key": [1, 2.5, null, true], "s": "\\u00e9\\n"}
https://example.org/a/b?c=d&e=%20f#g user@example.org C:\\Windows\\System32
$x = $y + 1; `ls -la` | grep "foo" && echo ~/bar ^^ ~~ == != <= >= => -> :: ...
!!! ??? ... --- *** ___ ((())) [[]] {{}} ///// \\\\\\ @@@ ### $$$ %%% ^^^ &&&
¡Hola! ¿Qué? «guillemets» „quotes“ ‘single’ … – — ‽ § ¶ † № ™ © ®
€100 £50 ¥1000 ₹5 ₿1 ±5% 20°C ∑∏∫√∞≠≈ ←→↑↓ ♠♥ ✓✗ █▓ ─│┌
tab\\tseparated\\t\\tvalues\\t
a  b   c    d     e      f
  leading and trailing  
line\\nline\\n\\nline\\n\\n\\nline\\r\\nline\\r\\r\\nend\\n
 \\n \\n\\n  \\n\\t\\n x
\\n\\n\\n
x\\n   y\\n\\n\\n   z   \\n
word \\n word\\t\\n word \\n
'\\n's 'll\\n \\n'
nbsp\u00a0em\u2003thin\u2009zw\u200bidg\u3000line\u2028para\u2029nel\u0085vt\u000bff\u000cend
\u00a0\u00a0 x \u3000\u3000y \u2003 z
bom\ufeffzwj\u200dzwnj\u200cshy\u00adrlo\u202ewj\u2060
ctl\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\u0008\u000e\u000f\u0010\u0011\u0012\u0013\u0014\u0015\u0016
\u0016\u001d\u0004 !\u0004! a\u0006b \u007f\u0080\u009f
\ufffd\ufffe\uffff\ufdd0 \ue000 \U000f0000 \U0010ffff \U00040000 \u0378 \U000e0041
<|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\n
<|endoftext|><|im_start|><|im_end|>
<|im_end|><|im_end|> <|im_end|>  <|im_end|>\\n
x<|im_start|>y <|im_start|> z
<|im_start|<|im_start|> <|im_<|im_end|>end|> <|im_end|<|im_end|>
<repo_name>a/b<file_sep>c.py<gh_stars>10<reponame>x<filename>y
<jupyter_start><jupyter_text>t<jupyter_code>c<jupyter_output>o<jupyter_script>s<empty_output>
<issue_start>a<issue_comment>b<issue_closed>c
< |im_end|> <|IM_END|> <|im end|> <im_end> <|im_end| >
1a2b3c 4D 5e6 ７８９ １２ 1st 2nd 3rd 10th 1½
Ünïcödé CamelCase snake_case kebab-case SCREAMING_SNAKE dot.case path/case
aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
Donaudampfschifffahrtsgesellschaftskapitänsmütze
ſ 'ſ 'K K'S Å ǅ ǈ Ա ა ʼs ’s ’ll
"""

FRAGMENTS = [
    *(" ", "  ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u3000", "a", "The", " the", "ing", "é", "e\u0301", "ß", "Ж"),
    *(
        "中",
        "文字",
        "の",
        "カ",
        "한",
        "ا",
        "ש",
        "\u05b0",
        "न",
        "\u094d",
        "ก",
        "1",
        "23",
        "456",
        "²",
        "½",
        "٣",
        "!",
        "?!",
    ),
    *(
        "...",
        "'",
        "'s",
        "'LL",
        "-",
        "_",
        "(",
        ")",
        "{",
        "}",
        "<",
        "|",
        ">",
        "<|",
        "|>",
        "im_end",
        "<|im_end|>",
        "$",
        "+",
    ),
    *(
        "=",
        "~",
        "^",
        "`",
        "\\",
        "/",
        "😀",
        "\U0001f468\u200d\U0001f469",
        "\U0001f1e9",
        "\u200d",
        "\ufe0f",
        "\x00",
        "\x04",
    ),
    *("\x1d", "\ufffd", "\ue000", "𝔘", "𝟙", "§", "€", "→"),
]


def texts() -> list[str]:
    """Written by hand, then put together from fragments, then long."""
    lines = [line.replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r") for line in LINES.split("\n")[:-1]]
    draw = random.Random(1)
    mixed = ["".join(draw.choices(FRAGMENTS, k=draw.randint(2, 24))) for _ in range(420)]
    scalars = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    wild = ["".join(draw.choices(scalars, k=draw.randint(1, 12))) for _ in range(60)]
    long = [unit * n for unit, n in (("a", 999), (" ", 777), ("\n", 300), ("中", 400), ("1", 333), ("ab ", 300))]
    return ["", *lines, *mixed, *wild, *long]


def vocabulary_file(model: str, pre: str, path: Path) -> None:
    """A GGUF of the tokenizer alone, under another rule's name."""
    fields = gguf.GGUFReader(model).fields
    writer = gguf.GGUFWriter(path, "llama")
    old = {key: fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "token_type", "merges")}
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(old["tokens"] + EXTRA_TOKENS)
    writer.add_token_types(old["token_type"] + [gguf.TokenType.NORMAL] * len(EXTRA_TOKENS))
    writer.add_token_merges(old["merges"] + EXTRA_MERGES)
    writer.add_tokenizer_pre(pre)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def ask(path: str | Path, questions: list[tuple[str, bool]]) -> list[list[int]]:
    llama = Llama(str(path), vocab_only=True, verbose=False)
    return [llama.tokenize(text.encode(), add_bos=False, special=special) for text, special in questions]


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
    OUT.mkdir(exist_ok=True)
    questions = [(text, special) for text in texts() for special in (False, True)]
    answers = ask(model, questions)
    # [text, ids] or, where control tokens were found, [text, ids, ids with parse_special]
    rows = [
        [text, plain] if plain == parsed else [text, plain, parsed]
        for (text, _), plain, parsed in zip(questions[::2], answers[::2], answers[1::2], strict=True)
    ]
    write("smollm2.json", {"made_by": made_by, "rows": rows})

    for_characters = ask(model, [(text, True) for text in character_texts()])
    digests = [digest(ids) for ids in for_characters]
    write("characters.json", {"made_by": made_by, "rows": [digests[i : i + 16] for i in range(0, len(digests), 16)]})

    some = [text for i, text in enumerate(texts()) if i <= LINES.count("\n") or i % 8 == 0]
    rules = []
    with tempfile.TemporaryDirectory() as folder:
        for pre in RULES:
            path = Path(folder) / f"{pre}.gguf"
            vocabulary_file(model, pre, path)
            rules.append([pre, ask(path, [(text, False) for text in some])])
    write("rules.json", {"made_by": made_by, "rows": [EXTRA_TOKENS, EXTRA_MERGES, some, *rules]})


if __name__ == "__main__":
    main(sys.argv[1])
