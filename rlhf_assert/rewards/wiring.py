"""Whether the advantages that train the policy belong to the rewards."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rlhf_assert.recording.run import Samples
from rlhf_assert.recording.series import FloatArray, IntArray
from rlhf_assert.rewards.estimates import (
    Estimate,
    bootstrap,
    centred_correlation,
    cluster_sums,
    not_judged,
    within,
)
from rlhf_assert.rewards.saturation import equal_within_groups


def advantage_correlation(reward: FloatArray, advantage: FloatArray, group: IntArray, step: IntArray) -> Estimate:
    """Return r(advantage, reward) among completions of one prompt, resampled by step.

    Each group weighs the same. In GRPO r is 1 by construction, so this checks wiring, not quality: negated advantages
    give -1, shuffled ones 0.
    Groups whose rewards are all equal say nothing and are left out.

    Args:
        reward: shape (n,), finite.
        advantage: shape (n,), NaN where not recorded.
        group: shape (n,), the number of the group of each sample.
        step: shape (n,), the number of the step of each sample.
    """
    known = np.isfinite(advantage)
    if not known.any():
        return not_judged("advantages were not recorded")
    reward, advantage, group, step = reward[known], advantage[known], group[known], step[known]
    numbers, equal = equal_within_groups(reward, group)
    kept = np.isin(group, numbers[~equal])
    if not kept.any():
        return not_judged("no group has two different rewards", len(reward))
    group, step = group[kept], step[kept]
    x, y = _unit(advantage[kept], group), _unit(reward[kept], group)
    sums = cluster_sums(step, np.stack([x * x, y * y, x * y]))
    return bootstrap(sums[sums[:, 1] > 0], centred_correlation, samples=len(group), minimum=3)


def advantage_by_step(samples: Samples, reward: FloatArray, *, grouped: bool) -> Iterator[tuple[int, float]]:
    """Yield each step with its r(advantage, reward), NaN where nothing varies.

    Args:
        samples: the per-sample records.
        reward: what the advantages are made of, shape (n,).
        grouped: compare completions of one prompt only, and not all of a step.
    """
    known = np.isfinite(samples.advantage) & np.isfinite(reward)
    for step in dict.fromkeys(samples.step.tolist()):
        here = known & (samples.step == step)
        prompts = samples.prompt[here] if grouped else np.zeros(int(here.sum()))
        group = np.unique(prompts, return_inverse=True)[1]
        x, y = _unit(samples.advantage[here], group), _unit(reward[here], group)
        size = float(np.sqrt((x @ x) * (y @ y)))
        yield step, float(x @ y) / size if size > 0.0 else float("nan")


def _unit(values: FloatArray, group: IntArray) -> FloatArray:
    """Return values about their group's mean, scaled so that each group weighs the same, whatever its spread."""
    centred = within(values, group)
    size = np.sqrt(np.bincount(group, weights=centred**2))[group]
    unit: FloatArray = np.where(size > 1e-12, centred / np.where(size > 1e-12, size, 1.0), 0.0)
    return unit
