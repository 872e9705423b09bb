"""Level shifts: a metric that leaves its own earlier level, and stays away.

A row is outside if it lies more than `threshold` spreads from the median of the past; a shift is 5 of the last 8 rows
outside on one side (so the median of the 8 has left, and no single row can make it); for what is slower or smaller, 12
of the last 16 at a lower threshold; and for short or sparsely logged runs each of the last 4. The past is the more
recent half of the rows before the window: at least 30 if there are as many, never under 10 (6 for the window of 4), at
most 128. The spread is the greatest of
1.4826 MAD, 1.2533 times the mean absolute deviation (which, unlike the MAD, sees the rare values of discrete and
skewed metrics) and 2 % of the median, times 1 + 4/n for short pasts. Where a straight line explains half of the spread
of the past, a shift against that line is measured by the spread around it: a reward that rises and then falls has left
its level sooner than its rise would make believe. Along the line the whole spread counts, so that a steady decline is
no shift.

A level is compared with levels and not with differences of rows, so autocorrelation costs little: the thresholds in
`budget` hold on AR(.7) noise. A random walk cannot be told from a loss of level, and is not meant to be.

Sources: P. J. Huber, "Robust Statistics" (1981), for the spreads; M. Basseville, I. Nikiforov, "Detection of Abrupt
Changes" (1993), 2.1 (finite moving average), for the window.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from copy import copy
from functools import lru_cache
from operator import mul

from rlhf_assert.detect.budget import Budget, level_threshold
from rlhf_assert.recording.series import FloatArray

SHORT, WINDOW, LONG = 4, 8, 16
OUTSIDE = {SHORT: 4, WINDOW: 5, LONG: 12}
MIN_PAST = {SHORT: 6, WINDOW: 10, LONG: 10}
MAX_PAST = 128
EXPLAINED = 0.5
_REST = 30


class Level:
    """The level of one metric, and whether its last rows have left it. Constant memory; a row costs a comparison.

    Args:
        window: 4, 8 or 16 rows.
        tries: tests that share the rate of one detector, for example its windows.
        most: rows of the past that count at most; fewer see less of a learning curve, and rate its noise less well.

    Attributes:
        window: the same.
        median: the level of the past.
        spread: its spread.
    """

    __slots__ = (
        "_above",
        "_below",
        "_due",
        "_high",
        "_low",
        "_mask",
        "_most",
        "_outside",
        "_quiet",
        "_rows",
        "_tries",
        "median",
        "spread",
        "values",
        "window",
    )

    def __init__(self, window: int = WINDOW, tries: int = 1, most: int = MAX_PAST) -> None:
        self.window, self._tries, self._most = window, tries, most
        self.values: deque[float] = deque(maxlen=window + most)
        self.median = self.spread = 0.0
        self._outside, self._mask = OUTSIDE[window], (1 << window) - 1
        self._low, self._high = -math.inf, math.inf
        self._below = self._above = 0
        self._rows = self._quiet = 0
        self._due = window + MIN_PAST[window] - 1

    def update(self, value: float, budget: Budget, threshold: float | None = None) -> int:
        """Take a finite value; return -1 or 1 with the row that completes a shift down or up, else 0.

        Args:
            value: the value.
            budget: what sets the threshold, unless `threshold` does.
            threshold: spreads from the median beyond which a row is outside.
        """
        values = self.values
        values.append(value)
        self._rows = rows = self._rows + 1
        if rows > self._due:
            self._refresh(level_threshold(budget.rate() / self._tries, self.window) if threshold is None else threshold)
        if self._low <= value <= self._high:
            if self._below or self._above:
                self._below = self._below << 1 & self._mask
                self._above = self._above << 1 & self._mask
            return 0
        if value < self._low:
            self._below, self._above = self._below << 1 & self._mask | 1, self._above << 1 & self._mask
            direction, count = -1, self._below.bit_count()
        else:
            self._above, self._below = self._above << 1 & self._mask | 1, self._below << 1 & self._mask
            direction, count = 1, self._above.bit_count()
        if count < self._outside or rows < self._quiet:
            return 0
        self._quiet = rows + _REST
        return direction

    def after(
        self, values: FloatArray, budget: Budget, threshold: float | None = None, direction: int = 0
    ) -> Level | None:
        """Return the level after finite values more, or None if one of them completes a shift in `direction`.

        Args:
            values: shape (n,).
            budget: see `update`.
            threshold: see `update`.
            direction: -1, 1, or 0 for either.
        """
        level = copy(self)
        level.values = self.values.copy()
        rest = values.tolist()
        while rest:
            part, rest = level._take(rest)  # noqa: SLF001 - of a copy
            if any(direction in {0, turn} for value in part if (turn := level.update(value, budget, threshold))):
                return None
        return level

    def _take(self, values: list[float]) -> tuple[list[float], list[float]]:
        """Take the rows up to the next refresh if all are inside; return the rows to be looked at, and the others."""
        until = self._due - self._rows
        part, rest = values[: max(1, until)], values[max(1, until) :]
        if until <= 0 or not self._low <= min(part) <= max(part) <= self._high:
            return part, rest
        self.values.extend(part)
        self._rows += len(part)
        self._below = self._below << len(part) & self._mask
        self._above = self._above << len(part) & self._mask
        return [], rest

    def back(self) -> int:
        """Return how many rows ago the shift that was just reported began."""
        bits = self._below or self._above
        return bits.bit_length() - 1

    def _refresh(self, threshold: float) -> None:
        values = list(self.values)
        before = self._rows - self.window
        take = min(max(before // 2, min(before, 30)), self._most)
        past = values[-self.window - take : -self.window]
        ordered = sorted(past)
        self.median = level = ordered[take // 2]
        off = [value - level for value in ordered]
        floor = 0.02 * abs(level)
        self.spread = spread = max(spread_of(off), floor) * (1.0 + 4.0 / take)
        self._due = self._rows + min(max(4, self._rows // 8), 64) - 1
        self._low, self._high = -math.inf, math.inf
        if not 0.0 < spread < math.inf:
            return
        down, up = spread, spread
        slope, share = _line(past, off)
        if share > 0.5:  # else no line explains half of the spread
            middle = 0.5 * (take - 1)
            rest = sorted([value - slope * (row - middle) for row, value in enumerate(past)])
            around = max(spread_of([value - rest[take // 2] for value in rest]), floor) * (1.0 + 4.0 / take)
            if around < EXPLAINED * spread:
                if slope > 0.0:
                    self.spread = down = around
                else:
                    up = around
        self._low, self._high = low, high = level - threshold * down, level + threshold * up
        below = above = 0
        for value in values[-self.window : -1]:  # the newest is counted by `update`
            below, above = below << 1 | (value < low), above << 1 | (value > high)
        self._below, self._above = below, above


def levels_after(
    levels: Iterable[Level], values: FloatArray, budget: Budget, threshold: float | None = None, direction: int = 0
) -> tuple[Level, ...] | None:
    """Return each level `after` the values, or None if there is a shift of any."""
    moved = []
    for level in levels:
        if (after := level.after(values, budget, threshold, direction)) is None:
            return None
        moved.append(after)
    return tuple(moved)


def spread_of(off: list[float]) -> float:
    """Return the spread of values by their deviations from their median, in order."""
    away = sorted(map(abs, off))  # two runs, which sort in linear time
    return max(1.4826 * away[len(away) // 2], 1.2533 * sum(away) / len(away))


def _line(values: list[float], off: list[float]) -> tuple[float, float]:
    """Return the least-squares slope per row, and the share that it explains of the squared deviations `off`."""
    rows, squares = _rows(len(values))
    slope = sum(map(mul, rows, values)) / squares
    total = sum(map(mul, off, off))
    return slope, slope * slope * squares / total if total > 0.0 else 0.0


@lru_cache(maxsize=MAX_PAST)
def _rows(count: int) -> tuple[list[float], float]:
    """Return the row numbers less their mean, and the sum of their squares."""
    rows = [row - 0.5 * (count - 1) for row in range(count)]
    return rows, sum(map(mul, rows, rows))
