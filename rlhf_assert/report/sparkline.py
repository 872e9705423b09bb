"""A curve in one line of text.

Each cell shows the mean of the steps that it stands for; `!` marks a cell with a value that is not finite. The scale:

- logarithmic where the values range over more than 30 to 1 and none is negative, else linear. The range goes from the
  5 % quantile of the positive values (the tiny KL of the first steps must not decide it) to the largest; what is
  smaller, an exact 0 included, sits on the lowest level, and at most six decades are drawn;
- never finer than what matters: a linear axis spans at least 10 % of the largest absolute value, and every axis at
  least 12 times the noise, so that one of the eight levels is 1.5 standard deviations of it. The noise is estimated
  from second differences of the cells, which neither a slope nor a step enters: their median absolute value over
  0.6745 sqrt(6), since x1 - 2 x2 + x3 of independent normal values has sqrt(6) times their standard deviation.

So noise and rounding look flat, and a change that exceeds them does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rlhf_assert.recording.series import FloatArray

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.-:=+*#"
NOT_FINITE = "!"
LOG_RANGE = 30.0
NOISE_SPAN = 12.0
_DECADES = 6.0
_LARGEST = 1e300


@dataclass(frozen=True, slots=True)
class Sparkline:
    """A drawn curve: its cells, and whether their scale is logarithmic."""

    cells: str
    log_scale: bool


@dataclass(frozen=True, slots=True)
class Axis:
    """The steps that the cells of a line stand for: `first` to `last`, spread evenly over `cells` cells.

    Raises:
        ValueError: no cell, or a last step before the first.
    """

    first: int
    last: int
    cells: int

    def __post_init__(self) -> None:
        if self.cells < 1 or self.last < self.first:
            raise ValueError(f"no axis: {self.cells} cells for the steps {self.first} to {self.last}")

    def spans(self) -> tuple[FloatArray, FloatArray]:
        """Return the first step of each cell and the step after its last, relative to `first`; each shape (cells,)."""
        total = float(self.last) - float(self.first) + 1.0
        edges = np.floor(np.arange(self.cells + 1) * (total / self.cells) + 1e-9)
        return edges[:-1], np.maximum(edges[1:], edges[:-1] + 1.0)

    def cell(self, step: int) -> int:
        """Return the first cell that stands for `step`; a step outside is in the first or the last one."""
        begins, ends = self.spans()
        relative = float(step) - float(self.first)
        place = int(np.searchsorted(ends, relative, side="right"))
        return min(place, self.cells - 1) if relative >= begins[0] else 0


def sparkline(
    values: ArrayLike,
    steps: ArrayLike | None = None,
    *,
    axis: Axis | None = None,
    cells: int = 40,
    ascii: bool = False,  # noqa: A002 - the word that users know
) -> Sparkline:
    """Draw a curve.

    Args:
        values: shape (n,), any floats.
        steps: shape (n,), the step of each value; by default their order.
        axis: the steps to draw, so that curves below one another align; by default those of the values, over `cells`.
        cells: cells of the default axis.
        ascii: draw with ASCII characters.

    Returns:
        Exactly as many cells as the axis has. A cell between two logged steps repeats the one before it; cells before
        the first and after the last logged step are blank.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if axis is None:
        place = np.arange(len(numbers)) if steps is None else np.asarray(steps)
        axis = Axis(int(place.min()), int(place.max()), cells) if len(place) else Axis(0, 0, cells)
    positions = np.arange(len(numbers)) if steps is None else np.asarray(steps)
    drawn = _means(numbers, positions, axis)
    scaled, log_scale = _scaled(drawn, numbers)
    ramp = ASCII if ascii else BLOCKS
    low, span = _window(scaled, drawn, log_scale=log_scale)
    text, shown = [], " "
    filled = np.flatnonzero(~np.isnan(drawn))
    end = _end(positions, axis) if len(filled) else -1
    for index, (value, height) in enumerate(zip(drawn, scaled, strict=True)):
        if math.isinf(value):
            shown = NOT_FINITE
        elif not math.isnan(value):
            shown = ramp[_level(height, low, span)]
        text.append(shown if index <= end else " ")
    return Sparkline("".join(text), log_scale)


def _means(values: FloatArray, positions: np.ndarray, axis: Axis) -> FloatArray:
    """Return the mean of each cell: NaN where it holds no value, infinity where one is not finite."""
    _, ends = axis.spans()
    relative = positions.astype(np.float64) - float(axis.first)
    inside = (relative >= 0) & (relative < ends[-1])
    values, relative = values[inside], relative[inside]
    # More cells than steps: the first cell of a step shows it, and the next ones repeat it.
    cell = np.minimum(np.searchsorted(ends, relative, side="right"), axis.cells - 1)
    counts = np.bincount(cell, minlength=axis.cells)
    # Divided before the sum, and clipped: a sum of the largest floats must not overflow.
    bounded = np.clip(np.nan_to_num(values, nan=0.0), -_LARGEST, _LARGEST)
    means = np.bincount(cell, weights=bounded / counts[cell], minlength=axis.cells).astype(np.float64)
    means[counts == 0] = np.nan
    means[np.unique(cell[~np.isfinite(values)])] = np.inf
    return np.asarray(means, dtype=np.float64)


def _end(positions: np.ndarray, axis: Axis) -> int:
    """Return the last cell that a value covers."""
    begins, _ = axis.spans()
    last = float(positions.max()) - float(axis.first)
    return int(np.searchsorted(begins, last, side="right")) - 1


def _scaled(drawn: FloatArray, values: FloatArray) -> tuple[FloatArray, bool]:
    """Return the heights of the cells, and whether they are logarithms."""
    positive = values[np.isfinite(values) & (values > 0)]
    if not len(positive) or (values < 0).any():
        return drawn, False
    top = float(positive.max())
    floor = max(float(np.quantile(positive, 0.05, method="lower")), top * 10.0**-_DECADES)
    if floor <= 0.0 or top / LOG_RANGE <= floor:
        return drawn, False
    return np.log(np.where(np.isfinite(drawn), np.maximum(drawn, floor), 1.0)), True


def _window(scaled: FloatArray, drawn: FloatArray, *, log_scale: bool) -> tuple[float, float]:
    """Return the lowest value of the axis and its span; a span of 0 draws everything on the lowest level."""
    heights = scaled[np.isfinite(drawn)]
    if not len(heights):
        return 0.0, 0.0
    low, high = float(heights.min()), float(heights.max())
    span = high - low
    if not log_scale:
        span = max(span, 0.1 * max(abs(low), abs(high)))
    if len(heights) >= 8:
        second = np.abs(heights[2:] - 2.0 * heights[1:-1] + heights[:-2])
        span = max(span, NOISE_SPAN * float(np.median(second)) / (0.6745 * math.sqrt(6.0)))
    return (low + high) / 2.0 - span / 2.0, span


def _level(height: float, low: float, span: float) -> int:
    if span <= 0.0:
        return 0
    return min(max(int((height - low) / span * 8.0 + 1e-9), 0), 7)  # the middle is a level's edge, exactly
