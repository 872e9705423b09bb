"""Where a metric is going: a streaming trend test."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Literal

Trend = Literal["increasing", "decreasing", "stable"]

LAG = 12
"""Each value is compared with the one `LAG` rows before it, so a trend is that of the last 24 rows."""
ENTER = 10
"""Ups less downs among the 12 pairs from which there is a trend: at least 11 of 12 in one direction, which a fair coin
gives in 0.63 % of windows, both directions together (and less where pairs are tied or still missing)."""
STAY = 6
"""Ups less downs below which a trend is over: at least 9 of 12, 14.6 % of a fair coin's windows, so that a trend does
not flicker."""


FOLD = 4
"""Rows that are looked at together: a trend of 24 rows need not be judged anew at each."""


class Trends:
    """The sign test of Cox and Stuart on the last 24 finite values of each metric.

    The 12 pairs (value now, value 12 rows ago) in the window share no value, so under noise that is independent and
    identically distributed, whatever its distribution, each is up or down with equal chance; ties count for neither.
    A trend can be seen from the 22nd value on. Autocorrelated noise is seen as the trends that it consists of.

    Constant time and memory per metric. Source: D. R. Cox, A. Stuart, "Some quick sign tests for trend in location and
    dispersion", Biometrika 42 (1955).
    """

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}
        self._waiting: list[Mapping[str, float | None]] = []
        self._changed: dict[str, Trend] = {}

    def update(self, metrics: Mapping[str, float | None]) -> dict[str, Trend]:
        """Take one row and return the trends that have changed, which is told at every 4th row."""
        self._waiting.append(metrics)
        if len(self._waiting) < FOLD:
            return {}
        self._fold()
        changed, self._changed = self._changed, {}
        return changed

    def current(self) -> dict[str, Trend]:
        """Return the trend of each metric that was ever finite, as of the last row."""
        self._fold()
        return {name: window.trend for name, window in self._windows.items()}

    def _fold(self) -> None:
        for metrics in self._waiting:
            self._changed |= self._take(metrics)
        self._waiting.clear()

    def _take(self, metrics: Mapping[str, float | None]) -> dict[str, Trend]:  # noqa: C901 - hot: calls would cost more
        changed: dict[str, Trend] = {}
        windows = self._windows
        for name, value in metrics.items():
            if value is None or value - value != 0.0:
                continue
            try:
                window = windows[name]
            except KeyError:
                window = windows[name] = _Window()
            values = window.values
            count = len(values)
            if count < LAG:
                values.append(value)
                continue
            middle = values[-LAG]
            # While the window fills, no pair leaves it: as if a tie did.
            oldest = values[0] if count == 2 * LAG else middle
            values.append(value)
            # The pair (middle, value) comes and the pair (oldest, middle) goes; mostly both point the same way.
            if value > middle:
                if middle > oldest:
                    continue
                window.balance += 2 if middle < oldest else 1
            elif value < middle:
                if middle < oldest:
                    continue
                window.balance -= 2 if middle > oldest else 1
            elif middle > oldest:
                window.balance -= 1
            elif middle < oldest:
                window.balance += 1
            else:
                continue
            if not window.low < window.balance < window.high:
                changed[name] = window.turn()
        return changed


class _Window:
    """The values of one metric, its balance (ups less downs), and the open interval that keeps its trend."""

    __slots__ = ("balance", "high", "low", "trend", "values")

    def __init__(self) -> None:
        self.values: deque[float] = deque(maxlen=2 * LAG)
        self.balance = 0
        self.trend: Trend = "stable"
        self.low, self.high = _KEEPS[self.trend]

    def turn(self) -> Trend:
        """Return the trend that the balance now stands for."""
        self.trend = "increasing" if self.balance >= ENTER else "decreasing" if self.balance <= -ENTER else "stable"
        self.low, self.high = _KEEPS[self.trend]
        return self.trend


_KEEPS: dict[Trend, tuple[int, int]] = {
    "stable": (-ENTER, ENTER),
    "increasing": (STAY - 1, LAG + 1),
    "decreasing": (-LAG - 1, 1 - STAY),
}
