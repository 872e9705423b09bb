"""Watching a run while it goes on: anomalies, trends, and the statistics of each epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

import numpy as np

from rlhf_assert.detect.anomaly import Anomaly, Detector
from rlhf_assert.detect.default import default_detectors
from rlhf_assert.detect.scan import Stream
from rlhf_assert.detect.trend import Trend, Trends
from rlhf_assert.recording.series import FloatArray

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

    A detector that fails is switched off, and the others go on.

    Memory is bounded: by the first 1,000 metric names (`rlhf_assert.detect.scan.MAX_METRICS`; later names are left
    out, which an anomaly of kind `too-many-metrics` says once), times a constant, however long the run.

    Args:
        detectors: fresh detectors; by default those of `default_detectors()`.
    """

    def __init__(self, detectors: Iterable[Detector] | None = None) -> None:
        self._stream = Stream(default_detectors() if detectors is None else detectors)
        self._trends = Trends()
        self._changed: dict[str, Trend] = {}
        self._epoch = _Epoch()

    def update(self, step: int, metrics: Mapping[str, float | None]) -> list[Anomaly]:
        """Take one row of canonical metrics and return the anomalies that it completes.

        The row is kept and looked at again with later ones: it must not be changed afterwards.
        """
        metrics, anomalies = self._stream.update(step, metrics)
        self._changed = self._trends.update(metrics)
        self._epoch.add(metrics)
        return anomalies

    @property
    def failed_detectors(self) -> Mapping[str, str]:
        """The detectors that were switched off because they failed, by name, each with its error."""
        return self._stream.failed

    @property
    def trends(self) -> Mapping[str, Trend]:
        """The current trend of each metric that was ever finite; `stable` also while there is too little to tell."""
        return self._trends.current()

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
        self._names: list[str] = []
        self._moments = _Moments.of(np.empty(0), np.empty((0, 0)))

    def add(self, metrics: Mapping[str, float | None]) -> None:
        self._rows.append(metrics)
        if len(self._rows) == _FOLD:
            self._fold()

    def statistics(self) -> dict[str, EpochStatistics]:
        self._fold()
        moments = self._moments
        with np.errstate(all="ignore"):
            columns = zip(
                self._names,
                moments.count.tolist(),
                moments.mean.tolist(),
                np.sqrt(moments.squares / moments.count).tolist(),
                moments.min.tolist(),
                moments.max.tolist(),
                moments.trend_score().tolist(),
                strict=True,
            )
        return {
            name: EpochStatistics(mean, std, least, greatest, _direction(score))
            for name, count, mean, std, least, greatest, score in columns
            if count
        }

    def _fold(self) -> None:
        rows, self._rows = self._rows, []
        if not rows:
            return
        known = dict.fromkeys(self._names)
        for row in rows:
            known.update(dict.fromkeys(row))
        self._names = list(known)
        values = np.array([list(map(row.get, self._names)) for row in rows], dtype=np.float64).T  # None becomes NaN
        positions = np.arange(self._before, self._before + len(rows), dtype=np.float64)
        self._moments = self._moments.join(_Moments.of(positions, values))
        self._before += len(rows)


@dataclass(frozen=True, slots=True)
class _Moments:
    """Count, means, sums of squared and crossed deviations, and extremes: arrays of shape (metrics,)."""

    count: FloatArray
    position: FloatArray
    mean: FloatArray
    squared_positions: FloatArray
    squares: FloatArray
    crossed: FloatArray
    min: FloatArray
    max: FloatArray

    @classmethod
    def of(cls, positions: FloatArray, values: FloatArray) -> _Moments:
        """Return the moments of the finite values: `positions` of shape (rows,), `values` of shape (metrics, rows)."""
        usable = np.isfinite(values)
        count = usable.sum(axis=1, dtype=np.float64)
        divisor = np.maximum(count, 1.0)
        with np.errstate(all="ignore"):  # a value near the largest float overflows its square, and that is the answer
            position = (usable * positions).sum(axis=1) / divisor
            mean = (np.where(usable, values, 0.0) / divisor[:, None]).sum(axis=1)
            away = np.where(usable, positions - position[:, None], 0.0)
            off = np.where(usable, values - mean[:, None], 0.0)
            return cls(
                count,
                position,
                mean,
                (away * away).sum(axis=1),
                (off * off).sum(axis=1),
                (away * off).sum(axis=1),
                np.where(usable, values, np.inf).min(axis=1, initial=np.inf),
                np.where(usable, values, -np.inf).max(axis=1, initial=-np.inf),
            )

    def join(self, other: _Moments) -> _Moments:
        """Return the moments of both parts (Chan, Golub, LeVeque 1979); metrics new in `other` come last there."""
        new = len(other.count) - len(self.count)
        if new:
            empty = _Moments.of(np.empty(0), np.empty((new, 0)))
            return _Moments(
                *(np.concatenate([getattr(self, field.name), getattr(empty, field.name)]) for field in fields(_Moments))
            ).join(other)
        with np.errstate(all="ignore"):
            count = self.count + other.count
            share = other.count / np.maximum(count, 1.0)
            weight = self.count * share
            away, off = other.position - self.position, other.mean - self.mean
            return _Moments(
                count,
                self.position + away * share,
                self.mean + off * share,
                self.squared_positions + other.squared_positions + away * away * weight,
                self.squares + other.squares + off * off * weight,
                self.crossed + other.crossed + away * off * weight,
                np.minimum(self.min, other.min),
                np.maximum(self.max, other.max),
            )

    def trend_score(self) -> FloatArray:
        """Return the correlation of value and row through Fisher's transformation: standard normal without a trend.

        NaN where there are fewer than 10 values, or where they do not differ.
        """
        correlation = self.crossed / (np.sqrt(self.squared_positions) * np.sqrt(self.squares))
        score = np.arctanh(np.clip(correlation, -1 + 1e-12, 1 - 1e-12)) * np.sqrt(self.count - 3)
        return np.where(self.count >= 10, score, np.nan)


def _direction(score: float) -> Trend:
    if score > 2.576:  # 1 %, both directions together
        return "increasing"
    return "decreasing" if score < -2.576 else "stable"
