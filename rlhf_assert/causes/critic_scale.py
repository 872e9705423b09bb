"""The value function: its scale against the rewards'."""

from __future__ import annotations

import numpy as np

from rlhf_assert.causes.hypothesis import Finding, Likely, onset
from rlhf_assert.check import Check
from rlhf_assert.detect.anomaly import Severity
from rlhf_assert.facts.detected import anomalies_in
from rlhf_assert.numbers import number
from rlhf_assert.recording.run import Run
from rlhf_assert.recording.series import Series

JUMP = 30.0
"""A value loss this many times its level before is a change of scale (x5.5 in the values), not noise."""

OUT_OF_SCALE = 300.0
"""A value loss this many times half the rewards' mean square at step 1: values 17 times the rewards' size."""

_AFFECTED = frozenset({"value_loss", "policy_loss", "kl", "entropy", "rewards", "learning", "metrics"})


def value_scale(run: Run, check: Check) -> Finding | None:
    """The value loss jumped, or began, far above what the rewards' scale can make it."""
    losses, rewards = run.series.get("value_loss"), run.series.get("reward")
    if check.name not in _AFFECTED or losses is None or rewards is None:
        return None
    begun = onset(check)
    if begins_out_of_scale(run) is not None:
        return Likely(
            f"the value head starts out of scale: value_loss {number(losses.first)} at step {losses.steps[0]}, "
            f"rewards of {number(reward_scale(run) or 0.0)}",
            ("initialise the value head at 0, or with a standard deviation of 1/sqrt(hidden size)",),
        )
    reported = any(sign.metric == "value_loss" and sign.severity >= Severity.critical for sign in anomalies_in(run))
    jump = find_jump(losses.finite) if reported else None
    if jump is None or (begun is not None and begun < jump[0]):
        return None
    step, factor = jump
    if _reward_jumped(rewards, step):
        return Likely(
            f"the rewards' scale jumped at step {step}, and the value loss with it, x{number(factor)}",
            ("bound or normalise the reward",),
        )
    return Likely(
        f"the value head jumped at step {step}: value_loss x{number(factor)}, while the rewards kept their scale",
        (
            f"what touched the value head's weights at step {step}: a load, a cast, a second optimizer",
            "clip the value loss, and a lower learning rate for the value head",
        ),
    )


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


def _reward_jumped(rewards: Series, step: int) -> bool:
    before = np.abs(rewards.finite.values[rewards.finite.steps < step])
    after = np.abs(rewards.finite.values[rewards.finite.steps >= step][:3])
    return bool(len(before) and len(after) and after.max() > np.sqrt(JUMP) * max(float(np.median(before)), 1e-6))
