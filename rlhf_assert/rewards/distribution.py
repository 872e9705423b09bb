"""How the distribution of the reward changed from the first third of the steps to the last."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlhf_assert.recording.series import FloatArray, IntArray
from rlhf_assert.rewards.estimates import Estimate, bootstrap, not_judged

BINS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DistributionDrift:
    """Distances between the rewards of the first and of the last third of the steps. Learning moves them too.

    Attributes:
        kolmogorov_smirnov: largest difference of the cumulative shares, 0 to 1.
        population_stability: PSI over 20 quantile bins; above 0.25 is called a shift (Siddiqi 2006).
        wasserstein: mean distance that rewards moved, in standard deviations.
    """

    kolmogorov_smirnov: Estimate
    population_stability: Estimate
    wasserstein: Estimate


def distribution_drift(reward: FloatArray, step: IntArray) -> DistributionDrift:
    """Return how far the distribution moved, resampled by step, over at most 20 bins of equal share.

    Args:
        reward: shape (n,), finite.
        step: shape (n,), the number of the step of each sample, in order of time.
    """
    steps = int(step.max(initial=-1)) + 1
    deviation = float(reward.std()) if len(reward) else 0.0
    if steps < 3 or deviation <= 0.0:
        nothing = not_judged("nothing varies" if steps >= 3 else f"{steps} steps, drift takes 3", len(reward))
        return DistributionDrift(kolmogorov_smirnov=nothing, population_stability=nothing, wasserstein=nothing)
    edges = np.unique(np.quantile(reward, np.linspace(0, 1, BINS + 1)[1:-1]))
    slot = np.searchsorted(edges, reward, side="right")
    bins = len(edges) + 1
    centres = np.bincount(slot, weights=reward, minlength=bins) / np.maximum(1, np.bincount(slot, minlength=bins))
    used = np.bincount(slot, minlength=bins) > 0
    third = steps / 3
    counts = np.bincount(step * bins + slot, minlength=steps * bins).reshape(steps, bins)[:, used].astype(np.float64)
    centres = centres[used]
    bins = int(used.sum())
    when = np.arange(steps)[:, None]
    sums = np.concatenate([counts * (when < third), counts * (when >= 2 * third)], axis=1)
    sums = sums[sums.sum(axis=1) > 0]

    def shares(total: FloatArray, smooth: float = 0.0) -> tuple[FloatArray, FloatArray]:
        one, other = total[:, :bins] + smooth, total[:, bins:] + smooth
        return one / one.sum(axis=1, keepdims=True), other / other.sum(axis=1, keepdims=True)

    def kolmogorov_smirnov(total: FloatArray) -> FloatArray:
        one, other = shares(total)
        largest: FloatArray = np.abs(np.cumsum(one - other, axis=1)).max(axis=1)
        return largest

    def population_stability(total: FloatArray) -> FloatArray:
        one, other = shares(total, smooth=0.5)  # an empty bin would make the logarithm infinite
        index: FloatArray = ((one - other) * np.log(one / other)).sum(axis=1)
        return index

    def wasserstein(total: FloatArray) -> FloatArray:
        one, other = shares(total)
        moved: FloatArray = (np.abs(np.cumsum(one - other, axis=1))[:, :-1] * np.diff(centres)).sum(axis=1) / deviation
        return moved

    count = len(reward)
    return DistributionDrift(
        kolmogorov_smirnov=bootstrap(sums, kolmogorov_smirnov, samples=count),
        population_stability=bootstrap(sums, population_stability, samples=count),
        wasserstein=bootstrap(sums, wasserstein, samples=count),
    )
