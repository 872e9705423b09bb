"""The value function: its scale against the rewards'."""

from __future__ import annotations

import numpy as np

from rlhf_assert.causes.finding import Finding, Likely, onset
from rlhf_assert.check import Check
from rlhf_assert.numbers import number
from rlhf_assert.run import Run
from rlhf_assert.series import Series

JUMP = 30.0
"""A value loss this many times its level before is a change of scale (x5.5 in the values), not noise."""

_AFFECTED = frozenset({"value_loss", "policy_loss", "kl", "entropy", "rewards", "learning", "metrics"})


def value_scale(run: Run, check: Check) -> Finding | None:
    """The value loss jumped, or began, far above what the rewards' scale can make it.

    With values near 0 the value loss is about half the mean square of the returns; the returns are of the rewards'
    scale, so a loss 100 times the rewards' mean square is the value function's own doing.
    """
    losses, rewards = run.series.get("value_loss"), run.series.get("reward")
    if check.name not in _AFFECTED or losses is None or len(losses.finite) < 3:
        return None
    jumped = _jump(losses.finite)
    begun = onset(check)
    if jumped is None or (begun is not None and begun < jumped[0]):
        return None
    step, factor = jumped
    if rewards is not None and _reward_jumped(rewards, step):
        return Likely(
            f"the reward's scale jumped at step {step}, and the value loss with it, x{number(factor)}",
            ("bound or normalise the reward",),
        )
    if factor == 0.0:
        return Likely(
            f"the value head is out of scale from the start: value_loss {number(losses.finite.first)} at step 1, "
            "with rewards of ordinary size" if rewards is None else
            f"the value head is out of scale from the start: value_loss {number(losses.finite.first)} at step 1, "
            f"rewards of {number(_size(rewards))}",
            ("initialise the value head at 0, or with a standard deviation of 1/sqrt(hidden size)",),
        )
    return Likely(
        f"the value head jumped at step {step}: value_loss x{number(factor)}, while the rewards kept their scale",
        (
            f"what changed the value head's weights at step {step}: a load, a cast, a second optimizer",
            "clip the value loss, and a lower learning rate for the value head",
        ),
    )


def _jump(losses: Series) -> tuple[int, float] | None:
    """Return the step at which the value loss left its level and by which factor; factor 0 if it began too high."""
    values, steps = losses.values, losses.steps
    for index in range(3, len(values)):
        level = float(np.median(values[max(0, index - 10) : index]))
        if level > 0.0 and values[index] > JUMP * level:
            return int(steps[index]), float(values[index] / level)
    late = float(np.median(values[len(values) // 2 :]))
    return (int(steps[0]), 0.0) if late > 0.0 and values[0] > 100.0 * max(late, 0.01) else None


def _reward_jumped(rewards: Series, step: int) -> bool:
    before = np.abs(rewards.finite.values[rewards.finite.steps < step])
    after = np.abs(rewards.finite.values[rewards.finite.steps >= step][:3])
    return bool(len(before) and len(after) and after.max() > np.sqrt(JUMP) * max(float(np.median(before)), 1e-6))


def _size(rewards: Series) -> float:
    values = rewards.finite.values
    return float(np.sqrt(np.mean(values**2))) if len(values) else 0.0
