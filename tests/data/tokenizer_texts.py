"""The texts that tokenizers are compared on: all scripts, emoji, code, numbers, white space, and what breaks rules."""

from __future__ import annotations

import random
import unicodedata
from pathlib import Path

_LINES = r"""
Hello, world!
The quick brown fox jumps over the lazy dog. It's 12:45 o'clock, isn't it?
I'll we've they're I'm he'd she'S WE'RE it'S don'T 'tis 'twas rock'n'roll ''' 's'
naïve café Ångström façade Œuvre ß ẞ ﬁ ﬀ İstanbul ıI
Привет, мир! Как дела? Ёлка и ъ. ПРИВЕТмир приветМИР ПриветМир
Γειά σου Κόσμε — ἀρχή, ὕδωρ ΑΒΓδεζ αβγΔΕΖ ᾈᾉᾊ
שלום עולם! בְּרֵאשִׁית
مرحبا بالعالم، ١٢٣ كيف حالك؟ ۔ ، ؛
नमस्ते दुनिया। क्षत्रिय १२३ ॥
வணக்கம் உலகம்! తెలుగు ಕನ್ನಡ മലയാളം සිංහල
สวัสดีชาวโลก ๑๒๓ ລາວ ភាសាខ្មែរ မြန်မာ
你好，世界！汉字漢字。一龥龦鿿㐀豈𠀀𪜀 中A中 a中b
こんにちは、世界！カタカナ ｶﾀｶﾅ ー々〆 ・「引用」
안녕하세요 세계! 한글 ㄱㄴㄷ ㅏㅑ ᄀᄁ 각
ㄅㄆㄇ 注音 ，。：；！ ﹏︰ 〈〉《》
ქართული Ქართული Հայերեն አማርኛ ᏣᎳᎩ ᐃᓄᒃᑎᑐᑦ ᚠᚢᚦ 𐍈 𒀀 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟘𝟙𝟚
👨‍👩‍👧‍👦 👩🏽‍🚀 🏳️‍🌈 🇩🇪🇯🇵 ☕️ ✌🏿 1️⃣ ❤️‍🔥
e\u0301 a\u0308o\u0304 Z\u0351\u036b\u0343a\u0334\u030a\u0313l\u0338\u0346g\u0322o\u033f \u0301alone
\u212b \u2126 \u1100\u1161\u11a8 \u0958 \ufb2a A\u030angstro\u0308m
Việt Nam tiếng Việt đường Łódź žluťoučký kůň
½ ⅓ Ⅷ ⅷ ① ㊿ 五 ٣ ² ³ ₄ 𝟙 ৳ ൧ Ⓐⓐ ªº ⁿ
0 00 123 1234 12345 1234567890 3.14159 1e-10 0xDEADBEEF 1,000,000 v1.2.3 x86_64 utf8
1 22 333 4444 55555 666666 7777777 88888888 999999999 a1 b22 c333 d4444 1a 22b 333c 4444d
def f(x: int) -> int:\n    return x ** 2  # squared\n
for (int i = 0; i < n; ++i) {\n\tsum += a[i] * b[i];\n}\n
<html><body class="a">&amp; <!-- c --></body></html>
SELECT * FROM t WHERE a <> 'b' AND c >= 10; -- done
{"key": [1, 2.5, null, true], "s": "\\u00e9\\n"}
https://example.org/a/b?c=d&e=%20f#g user@example.org C:\\Windows\\System32 ./a/\n/b/\n
$x = $y + 1; `ls -la` | grep "foo" && echo ~/bar ^^ ~~ == != <= >= => -> :: ...
!!! ??? ... --- *** ___ ((())) [[]] {{}} ///// \\\\\\ @@@ ### $$$ %%% ^^^ &&&
¡Hola! ¿Qué? «guillemets» „quotes“ ‘single’ … – — ‽ § ¶ † № ™ © ®
€100 £50 ¥1000 ₹5 ₿1 ±5% 20°C ∑∏∫√∞≠≈ ←→↑↓ ♠♥ ✓✗ █▓ ─│┌
tab\tseparated\t\tvalues\t \t x
a  b   c    d     e      f
  leading and trailing  
line\nline\n\nline\n\n\nline\r\nline\r\r\nend\n
 \n \n\n  \n\t\n x
\n\n\n
x\n   y\n\n\n   z   \n
word \n word\t\n word \n
!\n!\n\n ?\r\n.  \n,\n
'\n's 'll\n \n'
nbsp\u00a0em\u2003thin\u2009zw\u200bidg\u3000line\u2028para\u2029nel\u0085vt\u000bff\u000cend
\u00a0\u00a0 x \u3000\u3000y \u2003 z \u3000中\u3000 中\u3000文\u3000\u3000。
bom\ufeffzwj\u200dzwnj\u200cshy\u00adrlo\u202ewj\u2060 m\u180ev
ctl\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\u0008\u000e\u000f\u0010\u0011\u0012\u0013\u0014\u0015\u0016
\u0016\u001c\u001d\u001e\u001f\u0004 !\u0004! a\u0006b \u007f\u0080\u009f
\ufffd\ufffe\uffff\ufdd0 \ue000 \U000f0000 \U0010ffff \U00040000 \u0378 \U000e0041
<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n
<|endoftext|><|im_start|><|im_end|>
<|im_end|><|im_end|> <|im_end|>  <|im_end|>\n
x<|im_start|>y <|im_start|> z
<|im_start|<|im_start|> <|im_<|im_end|>end|> <|im_end|<|im_end|>
<repo_name>a/b<file_sep>c.py<gh_stars>10<reponame>x<filename>y
<jupyter_start><jupyter_text>t<jupyter_code>c<jupyter_output>o<jupyter_script>s<empty_output>
<issue_start>a<issue_comment>b<issue_closed>c <sentinel:12> IMGIMGABCZ IMGIMGZ
< |im_end|> <|IM_END|> <|im end|> <im_end> <im_end| >
1a2b3c 4D 5e6 ７８９ １２ 1st 2nd 3rd 10th 1½
Ünïcödé CamelCase snake_case kebab-case SCREAMING_SNAKE dot.case path/case HTTPServer getHTTPResponse iPhone
aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
Donaudampfschifffahrtsgesellschaftskapitänsmütze
ſ 'ſ 'K K'S Å ǅ ǈ Ა ა ʼs ’s ’ll can'ſ ABC's abc'LL ABC'Ve can'ſtop ABC'ſtop
▁under▁score ▁ ▁▁ _▁_
it'stop we'really don'think it'stop we'really don'think 'stop 'really 'think CamelCase qzxj qzxj
"""

_FRAGMENTS = [
    *(" ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u3000", "a", "The", " the", "ing", "é", "e\u0301"),
    *("ß", "Ж", "ж", "ДА", "нет", "Σ", "ς", "中", "文字", "の", "カ", "한", "ا", "ש", "\u05b0", "न", "\u094d", "ก"),
    *("1", "23", "456", "7890", "²", "½", "٣", "!", "?!", "...", "'", "'s", "'LL", "'Re", "-", "_", "(", ")", "{", "}"),
    *("<", "|", ">", "<|", "|>", "im_end", "<|im_end|>", "$", "+", "=", "~", "^", "`", "\\", "/", "//", "😀", "ǅ", "ʰ"),
    *("\U0001f468\u200d\U0001f469", "\U0001f1e9", "\u200d", "\ufe0f", "\x00", "\x04", "\x1d", "\ufffd", "\ue000"),
    *("𝔘", "𝟙", "§", "€", "→", "。", "，", "：", "…", "“", "ㄅ", "ㄱ", "AbC", "XY", "zW", "\u0301", "▁"),
]


def written_lines() -> list[str]:
    """Texts written by hand, each with a trap or a few."""
    return [line.encode("raw_unicode_escape").decode("unicode_escape") for line in _LINES[1:-1].split("\n")]


def _scripts(draw: random.Random) -> list[str]:
    """Five lines for each script: words of its letters, marks and digits, as their names in Unicode tell them apart."""
    scripts: dict[str, list[str]] = {}
    for char in map(chr, range(0x80, 0x33500)):
        newer = unicodedata.ucd_3_2_0.category(char) == "Cn"
        if newer and unicodedata.combining(char):
            continue  # the `tokenizers` library composes by an older Unicode than Python
        if unicodedata.category(char)[0] in "LMN":
            scripts.setdefault(unicodedata.name(char, "NONE").split()[0], []).append(char)
    lines = []
    for chars in scripts.values():
        for _ in range(5 if len(chars) > 9 else 1):
            words = ["".join(draw.choices(chars, k=draw.randint(1, 8))) for _ in range(draw.randint(2, 5))]
            lines.append("".join(word + draw.choice([" ", ", ", " ", "\n", "7 ", ""]) for word in words))
    return lines


def texts() -> list[str]:
    """Some 2,500: by hand, from documentation, from fragments, by script, of any characters, long; always the same."""
    draw = random.Random(1)
    topics = (Path(__file__).parent / "topics-120k.txt").read_text()
    found = ["".join(draw.choices(_FRAGMENTS, k=draw.randint(2, 24))) for _ in range(700)]
    assigned = [chr(c) for c in range(0x110000) if unicodedata.ucd_3_2_0.category(chr(c)) not in ("Cn", "Cs")]
    wild = ["".join(draw.choices(assigned, k=draw.randint(1, 12))) for _ in range(150)]
    cut = [topics[i : i + draw.randint(20, 90)] for i in draw.sample(range(len(topics) - 100), 500)]
    long = [unit * n for unit, n in (("a", 999), (" ", 777), ("\n", 300), ("中", 400), ("1", 333), ("ab ", 300))]
    return list(dict.fromkeys(["", *written_lines(), *cut, *found, *_scripts(draw), *wild, *long]))
