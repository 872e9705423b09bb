"""A validation's results as one picture: when each fault was found, the calibration, and who finds what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from rlhf_assert.training.fault_kinds import FAULTS
from rlhf_assert.validation.intervals import Rate
from rlhf_assert.validation.scorecard import Summary, by_source

ROW, TOP, LABELS, DELAYS, GAP, SIDE, EDGE = 16, 84, 180, 400, 90, 330, 20
STYLE = (
    "text{font:11px sans-serif;fill:#222}.title{font-size:13px;font-weight:bold}.quiet{fill:#777}"
    ".grid{stroke:#ddd}.axis{stroke:#888}.abrupt{fill:#2a6fb0;fill-opacity:.6}"
    ".gradual{fill:#fff;fill-opacity:.6;stroke:#2a6fb0}.missed{stroke:#c0392b;stroke-width:2}"
    ".found{fill:#b9d3ea}.first{fill:#2a6fb0}.whisker{stroke:#2a6fb0}.ideal{stroke:#888;stroke-dasharray:4 3}"
)


def picture(summary: Summary, calibration: Sequence[tuple[float, Rate]], heading: Sequence[str]) -> str:
    """Return an SVG document.

    Args:
        summary: our own scores.
        calibration: (budget, observed share of healthy runs with a warning).
        heading: what was validated, two lines.
    """
    side = LABELS + DELAYS + GAP
    left = _delays(summary)
    right = [*_calibration(calibration, side), *_sources(summary, side)]
    width = side + SIDE + EDGE
    height = max(TOP + ROW * len({score.fault.kind for score in summary.faults}) + 40, _sources_end(summary))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f'<style>{STYLE}</style><rect width="{width}" height="{height}" fill="#fff"/>'
        f"{_text(EDGE, 20, heading[0], 'quiet')}{_text(EDGE, 36, heading[1], 'quiet')}"
        f"{''.join([*left, *right])}</svg>\n"
    )


def _delays(summary: Summary) -> list[str]:
    """Draw a row for each fault: a dot for each training at its delay, a cross for one that was not found."""
    names = list(dict.fromkeys(score.fault.kind for score in summary.faults))
    longest = max((score.delay for score in summary.faults if score.delay is not None), default=1) or 1
    bottom = TOP + ROW * len(names)

    def x(delay: float) -> float:
        return LABELS + 10 + (DELAYS - 90) * delay / longest

    missed = LABELS + DELAYS - 20
    parts = [_text(EDGE, TOP - 20, "Steps from the fault to the find (filled: abrupt, hollow: gradual)", "title")]
    for step in _ticks(longest):
        parts.append(_line(x(step), TOP - 4, x(step), bottom, "grid"))
        parts.append(_text(x(step), bottom + 14, str(step), "quiet", "middle"))
    parts.append(_text(missed, bottom + 14, "not found", "quiet", "middle"))
    for index, name in enumerate(names):
        y = TOP + ROW * index + ROW / 2
        scores = [score for score in summary.faults if score.fault.kind == name]
        delays = [score.delay for score in scores if score.delay is not None]
        parts.append(_text(LABELS, y + 4, name, "", "end"))
        kind = "abrupt" if FAULTS[name].abrupt else "gradual"
        parts += [f'<circle class="{kind}" cx="{x(delay):.1f}" cy="{y:.1f}" r="4"/>' for delay in delays]
        if len(delays) < len(scores):
            parts.append(_line(missed - 4, y - 4, missed + 4, y + 4, "missed"))
            parts.append(_line(missed - 4, y + 4, missed + 4, y - 4, "missed"))
        parts.append(_text(LABELS + DELAYS + 8, y + 4, f"{len(delays)}/{len(scores)}", "quiet"))
    return parts


def _calibration(points: Sequence[tuple[float, Rate]], left: float) -> list[str]:
    """Draw the share of healthy runs with a warning over the budget for it, both from 0 to 1 on a square-root scale."""
    size = SIDE - 40

    def at(share: float) -> float:
        return size * math.sqrt(share)

    bottom, start = TOP + size, left + 30
    parts = [_text(left, TOP - 20, "Healthy runs with a warning, over their budget", "title")]
    for share in (0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0):
        parts.append(_line(start, bottom - at(share), start + size, bottom - at(share), "grid"))
        parts.append(_line(start + at(share), TOP, start + at(share), bottom, "grid"))
        parts.append(_text(start - 4, bottom - at(share) + 4, f"{share:g}", "quiet", "end"))
        parts.append(_text(start + at(share), bottom + 14, f"{share:g}", "quiet", "middle"))
    parts.append(_line(start, bottom, start + size, TOP, "ideal"))
    for budget, observed in points:
        if observed.total:
            x = start + at(budget)
            parts.append(_line(x, bottom - at(observed.low), x, bottom - at(observed.high), "whisker"))
            parts.append(f'<circle class="first" cx="{x:.1f}" cy="{bottom - at(observed.value):.1f}" r="4"/>')
    runs = points[0][1].total if points else 0
    parts.append(_text(start, bottom + 30, f"{runs} runs, 95 % intervals; under the line: within budget", "quiet"))
    return parts


def _sources(summary: Summary, left: float) -> list[str]:
    """Draw a bar for each detector and check: faults that it found, and those that it found first."""
    top = _sources_top()
    rows = by_source(summary)
    most = max((row.found for row in rows), default=1) or 1
    room = SIDE - LABELS + 20
    parts = [_text(left, top - 12, "Faults found by each (dark: found first)", "title")]
    for index, row in enumerate(rows):
        y = top + ROW * index
        parts.append(_text(left + LABELS - 50, y + 11, row.source, "", "end"))
        for number, kind in ((row.found, "found"), (row.first, "first")):
            width = room * number / most
            parts.append(f'<rect class="{kind}" x="{left + LABELS - 44}" y="{y + 2}" width="{width:.1f}" height="11"/>')
        parts.append(_text(left + LABELS - 38 + room * row.found / most, y + 11, str(row.found), "quiet"))
    return parts


def _sources_top() -> int:
    return TOP + SIDE + 40


def _sources_end(summary: Summary) -> int:
    return _sources_top() + ROW * len(by_source(summary)) + 20


def _ticks(longest: int) -> range:
    return range(0, longest + 1, next(step for step in (1, 2, 5, 10, 20, 50, 100, 1000) if longest / step <= 10))


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, words: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
