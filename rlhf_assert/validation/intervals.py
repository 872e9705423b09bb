"""The intervals behind the published numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its interval.

    Attributes:
        hits: how many.
        total: of how many.
        low: lower end of the 95 % interval of Clopper and Pearson (Biometrika 26, 1934), which never covers less than
            it says.
        high: upper end.
    """

    hits: int
    total: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share, 0 to 1; NaN of nothing."""
        return self.hits / self.total if self.total else float("nan")


@dataclass(frozen=True, slots=True)
class Median:
    """A median with its interval; NaN of nothing. Infinite values are values like others.

    Attributes:
        value: the median.
        low: lower end of the 95 % percentile bootstrap interval (Efron, Annals of Statistics 7, 1979).
        high: upper end.
        count: of how many values.
    """

    value: float
    low: float
    high: float
    count: int


def rate(hits: int, total: int) -> Rate:
    """Return a share with its interval; of nothing it is 0 to 1."""
    if total == 0:
        return Rate(0, 0, 0.0, 1.0)
    from scipy.stats import beta  # noqa: PLC0415 - a second to import

    tail = (1.0 - CONFIDENCE) / 2.0
    low = float(beta.ppf(tail, hits, total - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1.0 - tail, hits + 1, total - hits)) if hits < total else 1.0
    return Rate(hits, total, low, high)


def median(values: Sequence[float]) -> Median:
    """Return the median with its interval, by resampling with a fixed seed."""
    if not values:
        nan = float("nan")
        return Median(nan, nan, nan, 0)
    drawn = np.random.default_rng(0).choice(np.asarray(values, dtype=np.float64), (RESAMPLES, len(values)))
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(np.median(drawn, axis=1), [tail, 1.0 - tail], method="inverted_cdf")
    return Median(float(np.median(values)), float(low), float(high), len(values))
