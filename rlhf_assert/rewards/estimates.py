"""Numbers with their intervals: the cluster bootstrap over sums, and what is too little for one."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlhf_assert.numbers import number
from rlhf_assert.recording.series import FloatArray, IntArray

REPLICATES = 1000
MOST_CLUSTERS = 400
"""Neighbouring clusters are joined beyond this, which keeps memory bounded and any correlation between them inside."""

FEWEST_CLUSTERS = 8
"""A percentile interval over fewer clusters covers far too rarely; see `tests/calibration/reward_reliability.json`."""

_SEED = 20240229


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its 95 % interval.

    Attributes:
        value: the estimate; NaN where it could not be computed.
        low: lower end of the interval; NaN where there were too few independent parts for one.
        high: upper end.
        samples: how many samples it rests on.
        missing: why it is not judged, empty if it is.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    samples: int = 0
    missing: str = ""

    @property
    def judged(self) -> bool:
        """Whether there is both a value and an interval."""
        return not self.missing and math.isfinite(self.low) and math.isfinite(self.high)

    def __str__(self) -> str:
        if self.missing:
            return f"not judged: {self.missing}"
        interval = f" ({number(self.low)} to {number(self.high)})" if self.judged else ""
        return f"{number(self.value)}{interval}"


def not_judged(reason: str, samples: int = 0) -> Estimate:
    """Return the estimate of what could not be estimated."""
    return Estimate(math.nan, samples=samples, missing=reason)


def cluster_sums(cluster: IntArray, columns: FloatArray) -> FloatArray:
    """Return the sums of columns by cluster.

    Args:
        cluster: shape (n,), the number of the cluster of each sample, 0 to c - 1.
        columns: shape (k, n).

    Returns:
        Shape (c, k).
    """
    count = int(cluster.max(initial=-1)) + 1
    return np.stack([np.bincount(cluster, weights=column, minlength=count) for column in columns], axis=1)


def bootstrap(
    sums: FloatArray, statistic: Callable[[FloatArray], FloatArray], *, samples: int, minimum: int = FEWEST_CLUSTERS
) -> Estimate:
    """Return a statistic of summed columns with its 95 % percentile interval over resampled clusters.

    Whole clusters (steps, groups) are drawn with replacement, because the samples inside of one are not independent
    (Cameron, Gelbach and Miller 2008, "Bootstrap-based improvements for inference with clustered errors"). The
    generator has a fixed seed: a verdict can be recomputed.

    Args:
        sums: shape (c, k), the sums of each cluster, in order of time.
        statistic: takes sums of shape (r, k), returns shape (r,); NaN where it is undefined.
        samples: how many samples the sums are of.
        minimum: fewest clusters for an interval.
    """
    with np.errstate(all="ignore"):
        value = float(statistic(sums.sum(axis=0, keepdims=True))[0])
        if not math.isfinite(value):
            return not_judged("nothing varies", samples)
        if len(sums) < minimum:
            return Estimate(
                value, samples=samples, missing=f"{len(sums)} independent parts, an interval takes {minimum}"
            )
        sums = _joined(sums)
        weights = resample(len(sums))
        replicates = statistic(weights @ sums)
    replicates = replicates[np.isfinite(replicates)]
    if len(replicates) < REPLICATES // 2:
        return Estimate(value, samples=samples, missing="it hangs on a few of the samples")
    low, high = np.percentile(replicates, (2.5, 97.5))
    return Estimate(value, float(low), float(high), samples)


@functools.lru_cache(maxsize=4)
def resample(clusters: int) -> FloatArray:
    """Return how often each cluster is drawn in each replicate, shape (`REPLICATES`, clusters)."""
    generator = np.random.default_rng(_SEED)
    return generator.multinomial(clusters, np.full(clusters, 1.0 / clusters), size=REPLICATES).astype(np.float64)


def _joined(sums: FloatArray) -> FloatArray:
    if len(sums) <= MOST_CLUSTERS:
        return sums
    starts = np.linspace(0, len(sums), MOST_CLUSTERS, endpoint=False).astype(np.int64)
    joined: FloatArray = np.add.reduceat(sums, starts, axis=0)
    return joined


def number_off(values: NDArray[np.generic]) -> IntArray:
    """Return the rank of each value among the distinct ones, shape (n,)."""
    ranks: IntArray = np.unique(values, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return ranks


def correlation(sums: FloatArray) -> FloatArray:
    """Return Pearson's r from the sums (n, x, y, xx, yy, xy), shape (r, 6)."""
    n, x, y, xx, yy, xy = sums.T
    return centred_correlation(np.stack([xx - x * x / n, yy - y * y / n, xy - x * y / n], axis=1))


def centred_correlation(sums: FloatArray) -> FloatArray:
    """Return Pearson's r from sums of centred products (xx, yy, xy), shape (r, 3)."""
    xx, yy, xy = sums.T
    product = xx * yy
    # Rounding leaves a trace of variance in what does not vary: columns are scaled to 1 before they get here.
    r = np.where((xx > 1e-9) & (yy > 1e-9), xy / np.sqrt(np.where(product > 0, product, 1.0)), np.nan)
    clipped: FloatArray = np.clip(r, -1.0, 1.0)
    return clipped


def standardised(values: FloatArray) -> FloatArray:
    """Return values with mean 0 and standard deviation 1, or all 0 if they do not vary beyond rounding."""
    if not values.size:
        return values
    centred = values - values.mean()
    spread = float(centred.std())
    if spread <= 1e-9 * max(1.0, float(np.abs(values).max())):
        return np.zeros_like(values)
    scaled: FloatArray = centred / spread
    return scaled


def within(values: FloatArray, group: IntArray) -> FloatArray:
    """Return values less the mean of their group, shape (n,)."""
    counts = np.bincount(group)
    centred: FloatArray = values - (np.bincount(group, weights=values) / np.maximum(counts, 1))[group]
    return centred
