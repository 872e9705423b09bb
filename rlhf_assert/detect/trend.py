"""Where a metric is going: a streaming trend test."""

from __future__ import annotations

from collections import deque
from math import comb
from typing import Literal

Trend = Literal["increasing", "decreasing", "stable"]

LAG = 12
"""Each value is compared with the one `LAG` rows before it, so a trend is that of the last 24 rows."""
MINIMUM_PAIRS = 8
"""Fewer untied pairs decide nothing: a trend can be seen from the 20th row of a metric on."""


def _threshold(pairs: int, level: float) -> int:
    """Return the least |ups - downs| among `pairs` fair coin flips whose two-sided probability is at most `level`."""
    tail = 0
    for downs in range(pairs // 2 + 1):
        tail += comb(pairs, downs)
        if 2 * tail > level * 2**pairs:
            return pairs - 2 * downs + 2
    return pairs % 2 + 2


_ENTER = [LAG + 1 if pairs < MINIMUM_PAIRS else _threshold(pairs, 0.01) for pairs in range(LAG + 1)]
_STAY = [LAG + 1 if pairs < MINIMUM_PAIRS else _threshold(pairs, 0.2) for pairs in range(LAG + 1)]


class TrendTest:
    """The sign test of Cox and Stuart on the last `2 * LAG` finite values of one metric.

    The `LAG` pairs (value now, value `LAG` rows ago) in the window share no value, so under noise that is independent
    and identically distributed, whatever its distribution, each is up or down with equal chance. A trend is entered
    at a two-sided level of 1 % a row (exactly 0.63 % with 12 untied pairs), and held while the level is under 20 %,
    so that it does not flicker. Autocorrelated noise is seen as the trends that it consists of.

    Constant time and memory. Source: D. R. Cox, A. Stuart, "Some quick sign tests for trend in location and
    dispersion", Biometrika 42 (1955).
    """

    __slots__ = ("_downs", "_signs", "_ups", "_values", "trend")

    def __init__(self) -> None:
        self.trend: Trend = "stable"
        self._values: deque[float] = deque(maxlen=LAG)
        self._signs: deque[int] = deque(maxlen=LAG)
        self._ups = 0
        self._downs = 0

    def update(self, value: float) -> bool:
        """Take one finite value and return whether the trend changed."""
        values, signs = self._values, self._signs
        if len(values) < LAG:
            values.append(value)
            return False
        before = values[0]
        values.append(value)
        if len(signs) == LAG:
            gone = signs[0]
            if gone > 0:
                self._ups -= 1
            elif gone < 0:
                self._downs -= 1
        if value > before:
            signs.append(1)
            self._ups += 1
        elif value < before:
            signs.append(-1)
            self._downs += 1
        else:
            signs.append(0)
        balance, pairs = self._ups - self._downs, self._ups + self._downs
        trend = self.trend
        if trend == "stable":
            if -_ENTER[pairs] < balance < _ENTER[pairs]:
                return False
            self.trend = "increasing" if balance > 0 else "decreasing"
            return True
        if (balance if trend == "increasing" else -balance) >= _STAY[pairs]:
            return False
        self.trend = "stable"
        return True
