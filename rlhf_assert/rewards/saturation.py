"""Groups whose rewards are all equal: they give GRPO and RLOO no advantage, and so no gradient."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rlhf_assert.recording.series import FloatArray, IntArray
from rlhf_assert.rewards.estimates import Estimate, bootstrap, cluster_sums, not_judged


def equal_within_groups(reward: FloatArray, group: IntArray) -> tuple[IntArray, NDArray[np.bool_]]:
    """Return the groups of at least two samples, and whether the rewards of each are equal.

    Equal is within 1e-6 * max(1, |reward|): a saturated sum of float32 rewards differs in its last digits, and TRL's
    own exact test then counts no group at all.

    Args:
        reward: shape (n,), finite.
        group: shape (n,), the number of the group of each sample.

    Returns:
        Shapes (g,) and (g,): the groups' numbers in ascending order, and whether each is saturated.
    """
    if not len(reward):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_)
    order = np.argsort(group, kind="stable")
    numbers, starts, counts = np.unique(group[order], return_index=True, return_counts=True)
    low = np.minimum.reduceat(reward[order], starts)
    high = np.maximum.reduceat(reward[order], starts)
    equal = high - low <= 1e-6 * np.maximum(1.0, np.abs(high))
    several = counts >= 2
    return numbers[several].astype(np.int64), equal[several]


def saturation(reward: FloatArray, group: IntArray, step: IntArray) -> Estimate:
    """Return the share of groups whose rewards are all equal, resampled by step.

    Args:
        reward: shape (n,), finite.
        group: shape (n,), the number of the group of each sample.
        step: shape (n,), the number of the step of each sample.
    """
    numbers, equal = equal_within_groups(reward, group)
    if not len(numbers):
        return not_judged("no prompt has two completions in one step", len(reward))
    step_of_group = np.zeros(int(group.max()) + 1, dtype=np.int64)
    step_of_group[group] = step
    sums = cluster_sums(step_of_group[numbers], np.stack([np.ones(len(numbers)), equal.astype(np.float64)]))
    return bootstrap(sums[sums[:, 0] > 0], lambda s: s[:, 1] / s[:, 0], samples=len(reward))
