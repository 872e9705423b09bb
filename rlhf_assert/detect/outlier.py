"""One metric's last values, and whether a value lies far outside them."""

from __future__ import annotations

import math
from collections import deque
from operator import mul
from statistics import median
from typing import NamedTuple

from rlhf_assert.detect.anomaly import Anomaly, Severity

NOTE = 5.5
"""Standard deviations from which a value is worth a note, if it also is 1.5 times as far out as any of its window."""

SAME = 1e-9
"""A distance below this share of the level is rounding; no outlier is so near, since spreads under 1e-6 of it (float32)
count as none."""

_ROUNDING = 1e-6


class Window:
    """The last values of one metric, and what was reported of it."""

    __slots__ = ("loudest", "quiet_until", "size", "threshold", "values")

    def __init__(self, size: int, threshold: float) -> None:
        self.size = size
        self.values: deque[float] = deque(maxlen=size)
        self.threshold = threshold
        self.quiet_until = -math.inf
        self.loudest = 0.0

    def bounds(self, core: int) -> tuple[float, float]:
        """Return bounds within which no value is an outlier, until all but the last `core` values have been replaced.

        Moments at each row would cost more than all else. Of a window of n values that contains `core` ones with mean c
        and squared deviations S, the mean m and the deviation s obey (n - 1) s^2 >= S + core n / (n - core) (m - c)^2,
        whatever its other values are. By this, |v - m| <= threshold s for every v with |v - c| <= `reach` sqrt(S).
        """
        values = list(self.values)[-core:]
        reach = self.reach(len(values))
        if reach is None:
            return math.inf, -math.inf
        mean, squares = _moments(values)
        away = max(reach * math.sqrt(squares), SAME * abs(mean))
        return mean - away, mean + away

    def reach(self, core: int) -> float | None:
        """Return how far `bounds` reach, in roots of the core's squared deviations; None if every value must be tested.

        That is so for thresholds of about 1 standard deviation and less.
        """
        others = (self.size - core) * (self.size - 1) / (core * self.size)
        sure = self.threshold**2 - others
        return (1.0 - SAME) * math.sqrt(sure / (self.size - 1)) if sure > 0.01 else None

    def test(self, step: int, metric: str, value: float) -> list[Anomaly]:
        """Judge a value by the values before it."""
        values = list(self.values)
        outlier = outlier_in(values, value, self.threshold)
        if outlier is None or (step < self.quiet_until and abs(outlier.score) < 2.0 * self.loudest):
            return []
        score, level = outlier.score, outlier.median
        self.quiet_until = step + self.size
        self.loudest = abs(score)
        return [
            Anomaly(
                kind="z-score",
                metric=metric,
                severity=Severity.warning,
                onset=step,
                summary=f"{value:.3g} at step {step}, {abs(score):.0f} standard deviations "
                f"{'above' if score > 0 else 'below'} the {len(values)} values before",
                evidence={
                    "value": value,
                    "z": score,
                    "mean": outlier.mean,
                    "std": outlier.spread,
                    "window": len(values),
                    "times_median": value / level if level else math.inf,
                },
                causes=("one unusual batch", "the beginning of something that other metrics will show"),
                remedy="look at this step's samples; if other metrics stay calm, accept it, or raise anomaly_threshold "
                f"for {metric}",
            )
        ]


class Outlier(NamedTuple):
    """A value by its score, and the mean, standard deviation and median of the values before it."""

    score: float
    mean: float
    spread: float
    median: float


def outlier_in(before: list[float], value: float, threshold: float) -> Outlier | None:
    """Return the value as an outlier, or None if it is none or the values before it have no scale."""
    mean, squares = _moments(before)
    spread, level = math.sqrt(squares / (len(before) - 1)), median(before)
    if not _ROUNDING * abs(mean) < spread < math.inf or 2 * before.count(level) > len(before):
        return None
    score = (value - mean) / spread
    if abs(score) <= threshold:
        return None
    if threshold == NOTE and abs(value - level) < 1.5 * max(abs(other - level) for other in before):
        return None
    return Outlier(score, mean, spread, level)


def _moments(values: list[float]) -> tuple[float, float]:
    """Return the mean and the sum of the squared deviations from it."""
    total = sum(values)
    # The sum of values near the largest float overflows, their mean does not.
    mean = total / len(values) if total - total == 0.0 else sum([value / len(values) for value in values])
    off = [value - mean for value in values]
    return mean, sum(map(mul, off, off))
