"""The scale of the value loss, against that of the rewards."""

from __future__ import annotations

import numpy as np

from rlhf_assert.facts.fact import fact
from rlhf_assert.recording.run import Run
from rlhf_assert.recording.series import Series

JUMP = 30.0
"""A value loss this many times its level before is a change of scale (x5.5 in the values), not noise."""


OUT_OF_SCALE = 300.0
"""A value loss this many times half the rewards' mean square at step 1: values 17 times the rewards' size."""


@fact
def begins_out_of_scale(run: Run) -> float | None:
    """Return how many times too high the first value loss is, if it is `OUT_OF_SCALE` or more.

    With values near 0 the value loss is half the mean square of the returns, which are of the rewards' scale. Without a
    spread of the rewards (samples, or a logged standard deviation) their scale is unknown: their mean may well be 0.
    """
    losses, scale = run.series.get("value_loss"), reward_scale(run)
    if losses is None or not len(losses) or not scale:
        return None
    factor = losses.first / (0.5 * scale**2)
    return factor if factor >= OUT_OF_SCALE else None


@fact
def reward_scale(run: Run) -> float | None:
    """Return the root mean square of single rewards; None where only means are known."""
    samples = run.samples.reward[np.isfinite(run.samples.reward)]
    if len(samples):
        return float(np.sqrt(np.mean(samples**2)))
    means, spreads = run.series.get("reward"), run.series.get("reward_std")
    if means is None or spreads is None or not len(means.finite) or not len(spreads.finite):
        return None
    return float(np.sqrt(np.mean(means.finite.values**2) + np.mean(spreads.finite.values**2)))


def find_jump(losses: Series) -> tuple[int, float] | None:
    """Return the first step at which a value loss left its level of the 10 rows before, and by which factor."""
    for index in range(3, len(losses)):
        level = float(np.median(losses.values[max(0, index - 10) : index]))
        if level > 0.0 and losses.values[index] > JUMP * level:
            return int(losses.steps[index]), float(losses.values[index] / level)
    return None
