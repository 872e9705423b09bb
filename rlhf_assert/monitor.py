"""Watching a run while it goes on: anomalies, trends, and the statistics of each epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from rlhf_assert.detect.anomaly import Anomaly, Detector
from rlhf_assert.detect.default import default_detectors
from rlhf_assert.detect.scan import Stream
from rlhf_assert.detect.trend import Trend, TrendTest
from rlhf_assert.series import FloatArray

__all__ = ["EpochStatistics", "Monitor", "Trend"]

_FOLD = 64  # rows whose values are kept before they are folded into the epoch's sums


@dataclass(frozen=True, slots=True)
class EpochStatistics:
    """One metric over one epoch, non-finite values left out.

    Attributes:
        mean: the mean.
        std: the standard deviation of the population; 0 for one value.
        min: the least value.
        max: the greatest value.
        trend: the sign of the least-squares slope over the epoch's rows, if it differs from 0 at the 1 % level.
    """

    mean: float
    std: float
    min: float
    max: float
    trend: Trend


class Monitor:
    """Feeds each row to the detectors, and follows the trend and the epoch statistics of every metric.

    Memory is bounded: by the first 1,000 metric names (`rlhf_assert.detect.scan.MAX_METRICS`; later names are left
    out, which an anomaly of kind `too-many-metrics` says once), times a constant, however long the run.

    Args:
        detectors: fresh detectors; by default those of `default_detectors()`.
    """

    def __init__(self, detectors: Iterable[Detector] | None = None) -> None:
        self._stream = Stream(default_detectors() if detectors is None else detectors)
        self._tests: dict[str, TrendTest] = {}
        self._changed: dict[str, Trend] = {}
        self._epoch = _Epoch()

    def update(self, step: int, metrics: Mapping[str, float | None]) -> list[Anomaly]:
        """Take one row of canonical metrics and return the anomalies that it completes."""
        metrics, found = self._stream.update(step, metrics)
        changed: dict[str, Trend] = {}
        tests = self._tests
        for name, value in metrics.items():
            if value is None or value - value != 0.0:
                continue
            test = tests.get(name)
            if test is None:
                test = tests[name] = TrendTest()
            if test.update(value):
                changed[name] = test.trend
        self._changed = changed
        self._epoch.add(metrics)
        return found

    @property
    def trends(self) -> Mapping[str, Trend]:
        """The current trend of each metric that was ever finite; `stable` also while there is too little to tell."""
        return {name: test.trend for name, test in self._tests.items()}

    @property
    def changed(self) -> Mapping[str, Trend]:
        """The trends that changed with the last update."""
        return self._changed

    def end_epoch(self) -> Mapping[str, EpochStatistics]:
        """Return the statistics of each metric since the last call (or the start), and begin a new epoch.

        A metric without a finite value in the epoch is left out.
        """
        statistics = self._epoch.statistics()
        self._epoch = _Epoch()
        return statistics


class _Epoch:
    """The moments of each metric, a batch of rows at a time."""

    def __init__(self) -> None:
        self._rows: list[Mapping[str, float | None]] = []
        self._before = 0  # rows folded so far
        self._moments: dict[str, _Moments] = {}

    def add(self, metrics: Mapping[str, float | None]) -> None:
        self._rows.append(dict(metrics))
        if len(self._rows) == _FOLD:
            self._fold()

    def statistics(self) -> dict[str, EpochStatistics]:
        self._fold()
        return {name: moments.statistics() for name, moments in self._moments.items()}

    def _fold(self) -> None:
        rows, self._rows = self._rows, []
        names = dict.fromkeys(name for row in rows for name in row)
        if not names:
            self._before += len(rows)
            return
        values = np.array([[row.get(name) for row in rows] for name in names], dtype=np.float64)  # None becomes NaN
        usable = np.isfinite(values)
        for name, row, keep in zip(names, values, usable, strict=True):
            if keep.all():
                batch, positions = row, np.arange(len(rows), dtype=np.float64)
            else:
                batch, positions = row[keep], np.flatnonzero(keep).astype(np.float64)
            if len(batch):
                added = _Moments.of(positions + self._before, batch)
                known = self._moments.get(name)
                self._moments[name] = added if known is None else known.join(added)
        self._before += len(rows)


@dataclass(frozen=True, slots=True)
class _Moments:
    """Count, means, sums of squared and crossed deviations, and extremes of values over their positions."""

    count: int
    position: float
    mean: float
    squared_positions: float
    squares: float
    crossed: float
    min: float
    max: float

    @classmethod
    def of(cls, positions: FloatArray, values: FloatArray) -> _Moments:
        with np.errstate(all="ignore"):  # a value near the largest float overflows its square, and that is the answer
            position, mean = float(positions.mean()), float(values.mean())
            away, off = positions - position, values - mean
            return cls(
                len(values),
                position,
                mean,
                float(away @ away),
                float(off @ off),
                float(away @ off),
                float(values.min()),
                float(values.max()),
            )

    def join(self, other: _Moments) -> _Moments:
        """Return the moments of both parts (Chan, Golub, LeVeque 1979)."""
        count = self.count + other.count
        share, weight = other.count / count, self.count * other.count / count
        away, off = other.position - self.position, other.mean - self.mean
        return _Moments(
            count,
            self.position + away * share,
            self.mean + off * share,
            self.squared_positions + other.squared_positions + away * away * weight,
            self.squares + other.squares + off * off * weight,
            self.crossed + other.crossed + away * off * weight,
            min(self.min, other.min),
            max(self.max, other.max),
        )

    def statistics(self) -> EpochStatistics:
        return EpochStatistics(self.mean, math.sqrt(self.squares / self.count), self.min, self.max, self._trend())

    def _trend(self) -> Trend:
        """Test the correlation of value and row with Fisher's transformation, which is near normal from 10 rows on."""
        scale = math.sqrt(self.squared_positions) * math.sqrt(self.squares)
        if self.count < 10 or not 0.0 < scale < math.inf:
            return "stable"
        correlation = self.crossed / scale
        if math.isnan(correlation):
            return "stable"
        score = math.atanh(max(-1 + 1e-12, min(1 - 1e-12, correlation))) * math.sqrt(self.count - 3)
        if abs(score) < 2.576:
            return "stable"
        return "increasing" if score > 0 else "decreasing"
