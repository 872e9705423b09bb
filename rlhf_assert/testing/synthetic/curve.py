"""A healthy metric, described by a few numbers: level, trend, noise, bounds, rounding, gaps."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import numpy as np

from rlhf_assert.recording.series import FloatArray, Series

Noise = Literal["normal", "heavy", "skewed", "discrete"]

LOGNORMAL_MEAN, LOGNORMAL_STD = np.exp(0.5), np.sqrt((np.e - 1.0) * np.e)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A metric on which nothing is wrong: value = level + spread * (trend * share of the rows done + noise).

    The noise has mean 0 and standard deviation 1. Where the curve is bounded, rounded or counted, that comes last, and
    takes part of the noise away.

    Attributes:
        rows: number of rows, at least 1.
        metric: name of the metric.
        level: where it begins.
        spread: standard deviation of the noise, above 0.
        trend: rise from the first row to the last, in spreads.
        noise: `normal`; `heavy` (Student's t with 3 degrees of freedom); `skewed` (lognormal with sigma 1); `discrete`
            (the mean of 8 outcomes that are 0 or 1).
        autocorrelation: coefficient of the first-order autoregression, 0 up to 1 (excluded).
        low: lowest value that is possible.
        high: highest value that is possible.
        quantum: values are rounded to multiples of it; 0 leaves them alone.
        missing: share of the rows that have no value, 0 up to 1 (excluded); the first row always has one.
        every: steps between two rows; the first row is of step 1.
        seed: of the noise; 0 is silence, to which failing cases shrink.
    """

    rows: int
    metric: str = "reward"
    level: float = 0.0
    spread: float = 1.0
    trend: float = 0.0
    noise: Noise = "normal"
    autocorrelation: float = 0.0
    low: float = -np.inf
    high: float = np.inf
    quantum: float = 0.0
    missing: float = 0.0
    every: int = 1
    seed: int = 0

    def series(self) -> Series:
        """Return the metric; the same description always gives the same values."""
        source = np.random.default_rng(self.seed)
        noise = autocorrelated(standard_noise(source, self.noise, self.rows), self.autocorrelation)
        done = np.linspace(0.0, 1.0, self.rows) if self.rows > 1 else np.zeros(self.rows)
        values = self.level + self.spread * (self.trend * done + (noise if self.seed else 0.0 * noise))
        if self.quantum > 0.0:
            values = np.round(values / self.quantum) * self.quantum
        values = np.clip(values, self.low, self.high)
        kept = source.random(self.rows) >= self.missing
        kept[:1] = True
        steps = np.arange(self.rows, dtype=np.int64) * self.every + 1
        return Series(self.metric, steps[kept], values[kept])


def standard_noise(source: np.random.Generator, kind: Noise, rows: int) -> FloatArray:
    """Return independent noise of mean 0 and standard deviation 1, shape (rows,)."""
    match kind:
        case "normal":
            return source.standard_normal(rows)
        case "heavy":
            return np.asarray(source.standard_t(3, rows) / np.sqrt(3.0))
        case "skewed":
            return np.asarray((source.lognormal(0.0, 1.0, rows) - LOGNORMAL_MEAN) / LOGNORMAL_STD)
        case "discrete":
            return np.asarray((source.binomial(8, 0.5, rows) - 4.0) / np.sqrt(2.0))


def autocorrelated(noise: FloatArray, coefficient: float) -> FloatArray:
    """Return the stationary first-order autoregression that independent noise of variance 1 drives; variance 1 too."""
    if not coefficient:
        return noise
    fresh = np.sqrt(1.0 - coefficient**2)
    return np.fromiter(
        accumulate(noise.tolist(), lambda state, new: coefficient * state + fresh * new), np.float64, count=len(noise)
    )
