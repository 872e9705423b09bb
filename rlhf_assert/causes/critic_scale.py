"""The value function: its scale against the rewards'."""

from __future__ import annotations

import numpy as np

from rlhf_assert.causes.hypothesis import RuledOut, about, onset
from rlhf_assert.checked import Cause, Check, Concern
from rlhf_assert.detect.anomaly import Severity
from rlhf_assert.facts.detected import anomalies_in
from rlhf_assert.facts.value_scale import JUMP, begins_out_of_scale, find_jump, reward_scale
from rlhf_assert.numbers import number
from rlhf_assert.recording.run import Run
from rlhf_assert.recording.series import Series


def value_scale(run: Run, check: Check) -> Cause | RuledOut | None:
    """The value loss jumped, or began, far above what the rewards' scale can make it."""
    losses, rewards = run.series.get("value_loss"), run.series.get("reward")
    if not about(check, Concern.CRITIC) or losses is None or rewards is None:
        return None
    begun = onset(check)
    if begins_out_of_scale(run) is not None:
        return Cause(
            f"the value head starts out of scale: value_loss {number(losses.first)} at step {losses.steps[0]}, "
            f"rewards of {number(reward_scale(run) or 0.0)}",
            remedy=("initialise the value head at 0, or with a standard deviation of 1/sqrt(hidden size)",),
        )
    reported = any(sign.metric == "value_loss" and sign.severity >= Severity.critical for sign in anomalies_in(run))
    jump = find_jump(losses.finite) if reported else None
    if jump is None or (begun is not None and begun < jump[0]):
        return None
    step, factor = jump
    if _reward_jumped(rewards, step):
        return Cause(
            f"the rewards' scale jumped at step {step}, and the value loss with it, x{number(factor)}",
            remedy=("bound or normalise the reward",),
        )
    return Cause(
        f"the value head jumped at step {step}: value_loss x{number(factor)}, while the rewards kept their scale",
        remedy=(
            f"what touched the value head's weights at step {step}: a load, a cast, a second optimizer",
            "clip the value loss, and a lower learning rate for the value head",
        ),
    )


def _reward_jumped(rewards: Series, step: int) -> bool:
    before = np.abs(rewards.finite.values[rewards.finite.steps < step])
    after = np.abs(rewards.finite.values[rewards.finite.steps >= step][:3])
    return bool(len(before) and len(after) and after.max() > np.sqrt(JUMP) * max(float(np.median(before)), 1e-6))
