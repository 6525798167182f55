"""An answer in Markdown on a screen, however the stream was cut. tests/data/make_chat_screens.py makes the screens."""

from __future__ import annotations

import codecs
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminal_screen import Screen, drawn

FOLDER = Path(__file__).parent / "data" / "chat"
SOURCES = sorted(FOLDER.glob("*.md"))
SCREENS = sorted(FOLDER.glob("*.txt"))
NARROW = [path for path in SCREENS if path.suffixes == [".24", ".txt"]]

MARKS = [
    *"#>-*_`~|[]()\\\n\n\n\t 1.", "**", "***", "```", "~~", "](u)", " word", "日本", "a", "- ", "1. ", "> ", "|-|-|\n", "|a|b|\n",
    "---\n", "```py\n", "\n\n", "  ",
]  # fmt: skip


def pieces(data: bytes, *cuts: int) -> Iterator[str]:
    """The text of a stream of UTF-8 that comes in parts: half a character waits for its rest."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        yield decoder.decode(data[start:end], final=end == len(data))


def source_of(screen: Path) -> tuple[bytes, int]:
    name, columns, _ = screen.name.split(".")
    return (FOLDER / f"{name}.md").read_bytes(), int(columns)


def letters(screen: Screen) -> str:
    return "".join(char for line in screen.text for char in line if char.isalnum())


def test_every_source_has_its_screens() -> None:
    assert len(SCREENS) == 3 * len(SOURCES) > 0


@pytest.mark.parametrize("screen", SCREENS, ids=lambda path: path.stem)
def test_screen(screen: Path) -> None:
    """Whole, and byte by byte."""
    data, columns = source_of(screen)
    assert drawn([data.decode()], columns).styled() == screen.read_text()
    assert drawn(list(pieces(data, *range(1, len(data)))), columns).styled() == screen.read_text()


@pytest.mark.parametrize("screen", NARROW, ids=lambda path: path.stem)
def test_cut_anywhere(screen: Path) -> None:
    """In two at some bytes, and into many parts."""
    data, columns = source_of(screen)
    random_ = random.Random(0)
    cuts = [[cut] for cut in random_.sample(range(1, len(data)), min(40, len(data) - 1))]
    cuts += [sorted(random_.sample(range(1, len(data)), min(n, len(data) - 1))) for n in (5, 20, 60)]
    for some in cuts:
        assert drawn(list(pieces(data, *some)), columns).styled() == screen.read_text(), some


@pytest.mark.slow
@pytest.mark.parametrize("screen", NARROW, ids=lambda path: path.stem)
def test_cut_at_every_byte(screen: Path) -> None:
    data, columns = source_of(screen)
    for cut in range(1, len(data)):
        assert drawn(list(pieces(data, cut)), columns).styled() == screen.read_text(), cut


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("```python\n```\nb", ["── python ─────────", "b"]),
        ("a\n```\n```\nb", ["a", "───────────────────", "b"]),
        ("a\n```", ["a", "───────────────────"]),
        ("```\n\n```", ["───────────────────", "", "───────────────────"]),  # an empty line is a line
    ],
)
def test_code_that_is_none_is_one_rule(source: str, shown: list[str]) -> None:
    assert drawn([source], 20).text == drawn(source, 20).text == shown


@pytest.mark.parametrize("seed", range(8))
def test_cut_anywhere_at_random(seed: int) -> None:
    """Nonsense made of the marks of Markdown."""
    random_ = random.Random(seed)
    for _ in range(60):
        text = "".join(random_.choice(MARKS) for _ in range(random_.randrange(40)))
        columns = random_.randrange(3, 40)
        assert drawn(text, columns).styled() == drawn([text], columns).styled(), text


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
@pytest.mark.parametrize("columns", [1, 9, 10, 14, 19])
def test_a_narrow_window_loses_no_text(source: Path, columns: int) -> None:
    wide, narrow = (letters(drawn([source.read_text()], n, lines=400)) for n in (200, columns))
    if "|-" in source.read_text():  # cells that are wrapped side by side come in another order, or as their source
        assert not Counter(wide) - Counter(narrow)
    else:
        assert narrow == wide


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
@pytest.mark.parametrize("lines", [3, 10])
def test_what_left_a_low_window_is_what_a_high_one_shows(source: Path, lines: int) -> None:
    """Lines that were scrolled off are never written again: what they said was certain."""
    text = source.read_text()
    assert drawn(text, 24, lines).everything == drawn([text], 24, lines=200).text


def test_an_interrupted_answer_leaves_no_style_and_no_preview() -> None:
    for source in SOURCES:
        text = source.read_text()
        for cut in range(0, len(text), 17):
            screen = drawn([*text[:cut]], 24)
            screen.draw("X")
            assert screen.at[1] == 1, (source, cut)
            assert screen.buffer[screen.at[0]][0] == screen.default_char._replace(data="X"), (source, cut)
