"""A curve as inline SVG; its colours are classes of the page's style."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from rlhf_assert.numbers import number
from rlhf_assert.recording.series import FloatArray, Series
from rlhf_assert.report.sparkline import LOG_RANGE

WIDTH, HEIGHT = 340, 130
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 14, 18
MOST_POINTS = 600


def chart(series: Series, onsets: Sequence[tuple[int, str]] = (), *, across: str = "step") -> str:
    """Draw a series with its axis, gaps where it is not finite, and a dashed line at each onset.

    Args:
        series: the series; beyond 600 rows, 600 of them evenly spread, the rows that are not finite kept apart.
        onsets: (step, severity's name).
        across: what the horizontal axis counts.
    """
    if not len(series):
        return ""
    steps, values = series.steps.astype(np.float64), series.values
    keep = np.isfinite(values)
    first, last = float(steps.min()), float(steps.max())
    log_scale = _log_scale(values[keep])
    low, high = _range(values[keep], log_scale=log_scale)

    def x(step: float) -> float:
        share = (step - first) / (last - first) if last > first else 0.5
        return LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        height = math.log(max(value, math.exp(low))) if log_scale else value
        share = (height - low) / (high - low) if high > low else 0.5
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    bottom = HEIGHT - BOTTOM
    edges = (TOP, bottom)
    parts = [f'<line class="axis" x1="{LEFT}" y1="{edge}" x2="{WIDTH - RIGHT}" y2="{edge}"/>' for edge in edges]
    parts += [
        f'<line class="gap" x1="{x(step):.1f}" y1="{TOP}" x2="{x(step):.1f}" y2="{bottom}"/>'
        for step in steps[~keep][:MOST_POINTS]
    ]
    parts += _curve(steps, values, keep, x, y)
    for step, severity in onsets:
        at = x(step)
        anchor = "end" if at > WIDTH * 0.8 else "start"
        parts.append(f'<line class="onset {severity}" x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{bottom}"/>')
        parts.append(f'<text class="{severity}" x="{at:.1f}" y="{TOP - 4}" text-anchor="{anchor}">^{step}</text>')
    top_text, bottom_text = (number(math.exp(edge) if log_scale else edge) for edge in (high, low))
    if keep.any():
        parts.append(f'<text x="{LEFT - 5}" y="{TOP + 4}" text-anchor="end">{top_text}</text>')
        parts.append(f'<text x="{LEFT - 5}" y="{bottom + 3}" text-anchor="end">{bottom_text}</text>')
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 5}">{across} {int(first)}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 5}" text-anchor="end">{int(last)}</text>')
    notes = ["log scale"] if log_scale else []
    if (~keep).any():
        notes.append(f"{int((~keep).sum())} of {len(values)} not finite")
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 5}" text-anchor="middle">{", ".join(notes)}</text>')
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(parts)}</svg>'


def _curve(
    steps: FloatArray, values: FloatArray, keep: np.ndarray, x: Callable[[float], float], y: Callable[[float], float]
) -> list[str]:
    """Return a polyline for each stretch of finite values; a stretch of one value is a dot."""
    stride = max(1, -(-len(values) // MOST_POINTS))
    parts: list[str] = []
    stretch: list[tuple[float, float]] = []
    for index in range(len(values) + 1):
        if index < len(values) and keep[index]:
            if index % stride == 0 or index == len(values) - 1:
                stretch.append((x(float(steps[index])), y(float(values[index]))))
            continue
        if len(stretch) == 1:
            parts.append(f'<circle class="dot" cx="{stretch[0][0]:.1f}" cy="{stretch[0][1]:.1f}" r="2"/>')
        elif stretch:
            points = " ".join(f"{at:.1f},{height:.1f}" for at, height in stretch)
            parts.append(f'<polyline class="curve" points="{points}"/>')
        stretch = []
    return parts


def _log_scale(finite: FloatArray) -> bool:
    """Return whether the positive values range over more than 30 to 1 and none is negative, as in a sparkline."""
    positive = finite[finite > 0]
    if not len(positive) or (finite < 0).any():
        return False
    return bool(positive.max() / LOG_RANGE > np.quantile(positive, 0.05, method="lower"))


def _range(finite: FloatArray, *, log_scale: bool) -> tuple[float, float]:
    """Return the edges of the axis, as logarithms on a log scale.

    They are apart by at least 10 % of the largest absolute value, as in a sparkline, so that rounding looks flat; and
    what is never negative gets no negative axis.
    """
    if not len(finite) or not finite.any():
        return 0.0, 1.0
    if log_scale:
        positive = finite[finite > 0]
        top = float(positive.max())
        floor = max(float(np.quantile(positive, 0.05, method="lower")), top * 1e-6)
        return math.log(floor), math.log(top)
    low, high = float(finite.min()), float(finite.max())
    missing = 0.1 * max(abs(low), abs(high)) - (high - low)
    if missing <= 0.0:
        return low, high
    bottom = low - missing / 2.0
    return (0.0, missing + high - low) if low >= 0.0 > bottom else (bottom, high + missing / 2.0)
