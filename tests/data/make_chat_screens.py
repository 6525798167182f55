"""Make tests/data/chat/NAME.COLUMNS.txt: the screen after NAME.md came as an answer in a window of so many columns.

    python tests/data/make_chat_screens.py

They are made by the code that they test: read the difference before you commit it.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from terminal_screen import drawn

FOLDER = Path(__file__).parent / "chat"
WIDTHS = (72, 24, 10)

if __name__ == "__main__":
    for source in sorted(FOLDER.glob("*.md")):
        for columns in WIDTHS:
            screen = drawn([source.read_text()], columns)
            source.with_suffix(f".{columns}.txt").write_text(screen.styled())
