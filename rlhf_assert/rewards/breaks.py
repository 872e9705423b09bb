"""Where the rewards, or what is made of them, stopped being what they were: each at its step."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from rlhf_assert.recording.run import Samples
from rlhf_assert.recording.series import FloatArray
from rlhf_assert.rewards.wiring import advantage_by_step

PAST_STEPS, PAST_SAMPLES = 5, 32
FEWEST = 4
SCALE = 5.0
STEPS_OUT = 2
STEPS_CONSTANT = 3


@dataclass(frozen=True, slots=True)
class RewardBreak:
    """A step from which the rewards are other than before.

    Attributes:
        kind: "range": every reward but 0 has another sign, or a size beyond all that there were; "constant": all are
            one value, which is neither the highest nor the lowest that there was.
        step: the first such step.
        low, high: what the rewards (but 0, for a range) lay between before.
        values: two of the rewards since, the lowest and the highest of that step.
    """

    kind: Literal["range", "constant"]
    step: int
    low: float
    high: float
    values: tuple[float, float]


def find_reward_break(samples: Samples) -> RewardBreak | None:
    """Return the first break of the rewards' range or spread, or None.

    A range is broken by `STEPS_OUT` steps in succession of which every reward other than 0 (`FEWEST` at least) has the
    sign that none of the `PAST_SAMPLES` or more of `PAST_STEPS` or more steps before had, or a size beyond all of them
    with a median `SCALE` times theirs, or a `SCALE`-th of it. Learning moves a mean through its range; it does not
    empty the range from one step to the next. A reward that was never anything but 0 has no range yet.

    It becomes constant where `STEPS_CONSTANT` steps in succession have one value, inside of what there was in as many
    steps (and `PAST_SAMPLES` rewards) before, each of which had several.
    """
    out = constant = 0
    past: list[FloatArray] = []
    for step in dict.fromkeys(samples.step.tolist()):
        rewards = samples.reward[samples.step == step]
        rewards = rewards[np.isfinite(rewards)]
        if len(past) >= STEPS_CONSTANT and len(rewards) >= FEWEST:
            before = np.concatenate(past)
            known, now = before[before != 0.0], rewards[rewards != 0.0]
            settled = len(past) >= PAST_STEPS and len(known) >= PAST_SAMPLES and len(now) >= FEWEST
            outside = settled and (_other_sign(known, now) or _other_scale(np.abs(known), np.abs(now)))
            inside = bool(np.ptp(rewards) == 0.0 and before.min() < rewards[0] < before.max())
            varied = len(before) >= PAST_SAMPLES and all(np.ptp(one) > 0.0 for one in past[-PAST_STEPS:])
            out = out + 1 if outside else 0
            constant = constant + 1 if inside and varied else 0
            if outside and out == 1:
                held = RewardBreak("range", step, known.min(), known.max(), (float(now.min()), float(now.max())))
            elif inside and varied and constant == 1:
                held = RewardBreak("constant", step, before.min(), before.max(), (rewards[0], rewards[0]))
            if out == STEPS_OUT or constant == STEPS_CONSTANT:
                return held
            if outside or (inside and varied):
                continue  # what may be broken is no past
        past.append(rewards)
    return None


def _other_sign(before: FloatArray, now: FloatArray) -> bool:
    return bool((before.min() > 0.0 > now.max()) or (before.max() < 0.0 < now.min()))


def _other_scale(before: FloatArray, now: FloatArray) -> bool:
    beyond = now.min() > before.max() or now.max() < before.min()
    ratio = float(np.median(now) / np.median(before))
    return bool(beyond) and not 1.0 / SCALE < ratio < SCALE


def find_advantage_break(
    samples: Samples, reward: FloatArray, lowest: float, *, grouped: bool
) -> tuple[int, float] | None:
    """Return the first of two steps in succession whose r(advantage, reward) is below `lowest`, and that r.

    Args:
        samples: the per-sample records.
        reward: the reward that the advantages are made of, shape (n,).
        lowest: where 1 is what holds by construction.
        grouped: see `advantage_by_step`.
    """
    steps = [(step, r) for step, r in advantage_by_step(samples, reward, grouped=grouped) if not np.isnan(r)]
    for (step, r), (_, later) in pairwise(steps):
        if max(r, later) < lowest:
            return step, r
    return None
