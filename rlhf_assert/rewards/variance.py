"""How much of the reward's variance lies inside the groups, where a policy can learn from it."""

from __future__ import annotations

import numpy as np

from rlhf_assert.recording.series import FloatArray, IntArray
from rlhf_assert.rewards.estimates import Estimate, bootstrap, cluster_sums, not_judged, standardised, within


def within_group_share(reward: FloatArray, group: IntArray, step: IntArray) -> Estimate:
    """Return the share of a step's variance that lies between completions of one prompt, 0 to 1, resampled by step.

    Near 0 the reward tells prompts apart, not completions, and group-relative advantages are noise. Sums of squares
    with their degrees of freedom (one-way analysis of variance), so that small groups are not at a disadvantage.

    Args:
        reward: shape (n,), finite.
        group: shape (n,), the number of the group of each sample.
        step: shape (n,), the number of the step of each sample.
    """
    sizes = np.bincount(group)
    several = (sizes >= 2)[group] if len(group) else np.zeros(0, dtype=np.bool_)
    if not several.any():
        return not_judged("no prompt has two completions in one step", len(reward))
    values, group, step = standardised(reward[several]), group[several], step[several]
    first_of_group = np.zeros(len(group))
    first_of_group[np.unique(group, return_index=True)[1]] = 1.0
    columns = np.stack([within(values, group) ** 2, within(values, step) ** 2, np.ones(len(values)), first_of_group])
    sums = cluster_sums(step, columns)
    sums = sums[sums[:, 2] > 0]
    sums = np.column_stack([sums, np.ones(len(sums))])

    def share(total: FloatArray) -> FloatArray:
        inside, all_, n, groups, steps = total.T
        ratio = (inside / (n - groups)) / np.where(all_ > 1e-9, all_ / (n - steps), np.nan)
        clipped: FloatArray = np.clip(ratio, 0.0, 1.0)
        return clipped

    return bootstrap(sums, share, samples=len(values))
