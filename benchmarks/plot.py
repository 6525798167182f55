#!/usr/bin/env python3
"""A picture of what compare.py found: benchmarks/plot.py REPORT.json PICTURE.svg

A bar for each runtime's tokens a second, as long as its share of what the machine gave in the same run: the dashed line is the
memory's bandwidth where tokens are generated, the multiplications of bytes where a prompt is read. Where neither limits (caches
hold the model, several sequences share its weights) the fastest has the whole length. Cold starts are not drawn.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

_WIDTH, _MARGIN = 760, 16
_LEFT, _BAR_WIDTH, _BAR_HEIGHT = 130, 420, 18
_LINE = 24  # from one bar to the next
_COLOURS = ("#2563eb", "#f59e0b", "#6b7280", "#10b981", "#a855f7")
_INK, _FAINT = "#1f2937", "#6b7280"


def svg(reports: list[dict[str, Any]]) -> str:
    """reports: what `compare.py --json` writes."""
    names = list(dict.fromkeys(name for *_, found in _works(reports) for name in found["runtimes"]))
    colours = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)}
    body, y = [], _MARGIN
    for model, work, found in _works(reports):
        group, height = _group(f"{model}: {work}", found, colours, y)
        body += group
        y += height
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y}" viewBox="0 0 {_WIDTH} {y}" '
    style = f'font-family="system-ui, sans-serif" font-size="12" fill="{_INK}">'
    return "\n".join([head + style, f'<rect width="{_WIDTH}" height="{y}" fill="#ffffff"/>', *body, "</svg>"]) + "\n"


def _works(reports: list[dict[str, Any]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for report in reports:
        for work, found in report.items():
            if isinstance(found, dict) and "machine" in found:
                yield Path(report["model"]).stem, work, found


def _group(title: str, found: dict[str, Any], colours: dict[str, str], y: int) -> tuple[list[str], int]:
    """The elements of one work, below y, and how high they are."""
    of, limit = _limit(found)
    speeds = {name: figures["tokens_per_second"] for name, figures in found["runtimes"].items()}
    whole = limit or max(speeds.values())
    lines = [_text(_MARGIN, y + 12, title, 'font-weight="600"')]
    if limit:
        said = f"{of}: {limit:,.0f} tokens/s"
        lines.append(_text(_WIDTH - _MARGIN, y + 12, said, f'text-anchor="end" fill="{_FAINT}"'))
    top = y + 22
    for i, (name, speed) in enumerate(speeds.items()):
        at, length = top + i * _LINE, _BAR_WIDTH * speed / whole
        share = f", {speed / limit:.0%}" if limit else ""
        bar = f'x="{_LEFT}" y="{at}" width="{length:.1f}" height="{_BAR_HEIGHT}" rx="2" fill="{colours[name]}"'
        label = f"{speed:,.0f} tokens/s{share}" if speed >= 100 else f"{speed:.1f} tokens/s{share}"
        # Behind the line if it would cross it.
        beside = length if length + 7 * len(label) < _BAR_WIDTH else max(length, _BAR_WIDTH)
        lines += [
            _text(_LEFT - 8, at + 13, name, 'text-anchor="end"'),
            f"<rect {bar}/>",
            _text(_LEFT + beside + 6, at + 13, label, ""),
        ]
    bottom = top + len(speeds) * _LINE
    if limit:
        x = _LEFT + _BAR_WIDTH
        ends = f'x1="{x}" y1="{top - 4}" x2="{x}" y2="{bottom - 2}"'
        lines.append(f'<line {ends} stroke="{_INK}" stroke-dasharray="4 3"/>')
    return lines, bottom - y + _MARGIN


def _limit(found: dict[str, Any]) -> tuple[str, float]:
    """What the machine gave, and how many tokens a second that is; 0 where it does not limit."""
    figures = next(iter(found["runtimes"].values()))
    machine = found["machine"]
    if "share_of_bandwidth" in figures:
        said = f"all of {machine['memory_bandwidth'] / 1e9:.1f} GB/s"
        return said, figures["tokens_per_second"] / figures["share_of_bandwidth"]
    if "share_of_peak" in figures:
        said = f"all of {machine['int8_peak'] / 1e12:.2f} Tera-ops/s"
        return said, figures["tokens_per_second"] / figures["share_of_peak"]
    return "", 0.0


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path)
    args = parser.parse_args()
    args.picture.write_text(svg(json.loads(args.report.read_text())))


if __name__ == "__main__":
    main()
