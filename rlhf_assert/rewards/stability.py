"""Whether the reward keeps one scale from step to step."""

from __future__ import annotations

import numpy as np

from rlhf_assert.recording.series import FloatArray, IntArray
from rlhf_assert.rewards.estimates import Estimate, bootstrap, cluster_sums, not_judged, standardised, within

FEWEST_PAIRS = 24
"""Neighbouring steps for an interval: over 11 pairs a nominal 95 % covers 75 %, over 39 pairs 82 to 86 %, because
squares have a heavy tail."""


def stability(reward: FloatArray, group: IntArray, step: IntArray) -> Estimate:
    """Return the share of the reward's variance that is not a jump of its level from one step to the next, 0 to 1.

    The mean of a step differs from that of the next one by sampling (known from the spread between the step's groups)
    and, beyond that, only if the scorer's level jumps. A slow trend, which is learning, hardly shows in differences of
    neighbours (von Neumann 1941). 1 is a scorer with one scale; one that shifts each batch by as much as completions
    differ has 0.5. The common 1 / (1 + std / mean) is not used: it depends on where the reward's zero lies.

    Args:
        reward: shape (n,), finite.
        group: shape (n,), the number of the group of each sample.
        step: shape (n,), the number of the step of each sample, in order of time.
    """
    if not len(reward):
        return not_judged("no rewards")
    values = standardised(reward)
    n, total = cluster_sums(step, np.stack([np.ones(len(values)), values])).T
    spread = cluster_sums(step, within(values, step)[None] ** 2)[:, 0]
    # A prompt is drawn as a whole, so the independent parts of a step are its groups.
    size = np.bincount(group)
    step_of_group = np.zeros(len(size), dtype=np.int64)
    step_of_group[group] = step
    mean = total / np.maximum(n, 1)
    residual = np.bincount(group, weights=values) - size * mean[step_of_group]
    groups, squares = cluster_sums(step_of_group, np.stack([np.ones(len(size)), residual**2])).T
    with np.errstate(all="ignore"):
        sampling = np.where(groups > 1, squares / n**2 * groups / (groups - 1), spread / (n - 1) / n)
        inside = spread / (n - 1)
    usable = (n > 1) & np.isfinite(sampling)
    mean, sampling, inside = mean[usable], sampling[usable], inside[usable]
    if len(mean) < 3:
        return not_judged(f"{len(mean)} steps with two completions, stability takes 3", len(values))
    jump = np.diff(mean) ** 2 / 2 - (sampling[1:] + sampling[:-1]) / 2
    pairs = np.stack([jump, (inside[1:] + inside[:-1]) / 2], axis=1)

    def share(sums: FloatArray) -> FloatArray:
        jumped = np.maximum(sums[:, 0], 0.0)
        return np.where(sums[:, 1] > 1e-9, sums[:, 1] / (sums[:, 1] + jumped), np.where(jumped > 1e-9, 0.0, np.nan))

    return bootstrap(pairs, share, samples=len(values), minimum=FEWEST_PAIRS)
