"""Whether the reward follows the length of a completion rather than what it says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlhf_assert.recording.series import FloatArray, IntArray
from rlhf_assert.rewards.estimates import (
    Estimate,
    bootstrap,
    centred_correlation,
    cluster_sums,
    correlation,
    not_judged,
    standardised,
    within,
)

STRONG = 0.8
"""r over all samples that the whole interval must pass: length then accounts for 64 % of the reward's variance."""

STRONG_WITHIN = 0.5
"""The same inside of the steps, where lengths differ less and any noise weighs more."""

SMALLEST_MOVE = 0.1
"""Change of the mean length, as a share of its start, that counts as a move."""

LARGEST_REST = 2 / 3
"""Share of the reward's rise that may remain at equal length. A reward that counts characters, and nothing else, keeps
a half of its rise at an equal number of tokens (measured in GRPO): the policy learns long words as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthBias:
    """How reward and length go together.

    Attributes:
        pearson: r over all samples.
        spearman: rank correlation over all samples, for relations that are not straight.
        within_step: partial r given the step: among completions of one step that ended by themselves, so that neither a
            common trend enters nor the cap on length, which hides how long an answer would have become.
        start_length: mean length in the first third of the steps, in tokens.
        end_length: mean length in the last third.
        gain: rise of the mean reward from the first third of the steps to the last.
        gain_at_equal_length: the same less what the change of length explains, by the slope inside of the steps
            (analysis of covariance).
        length_change: change of the mean length, in tokens.
    """

    pearson: Estimate
    spearman: Estimate
    within_step: Estimate
    start_length: float
    end_length: float
    gain: Estimate
    gain_at_equal_length: Estimate
    length_change: Estimate

    @property
    def follows(self) -> bool:
        """Whether there is strong evidence that the policy was paid for length.

        All must hold: r over all samples is beyond 0.8, and r inside of the steps beyond 0.5, with their whole
        intervals and on one side; the length really moved to the side that pays; the reward rose; and a good part of
        the rise is gone at equal length. A sound reward may well correlate with length: a longer answer can be the
        better one.
        """
        parts = (self.pearson, self.within_step, self.gain, self.gain_at_equal_length, self.length_change)
        if not all(part.judged for part in parts):
            return False
        sign = 1.0 if self.pearson.value > 0 else -1.0
        strong = _lower(self.pearson, sign) > STRONG and _lower(self.within_step, sign) > STRONG_WITHIN
        moved = _lower(self.length_change, sign) > 0.0 and abs(self.length_change.value) >= SMALLEST_MOVE * abs(
            self.start_length
        )
        rose = self.gain.low > 0.0
        return strong and moved and rose and self.gain_at_equal_length.value <= LARGEST_REST * self.gain.value


def length_bias(reward: FloatArray, length: FloatArray, step: IntArray, truncated: FloatArray) -> LengthBias:
    """Return how reward and length go together, resampled by step.

    Args:
        reward: shape (n,), finite.
        length: shape (n,), in tokens, NaN where not recorded.
        step: shape (n,), the number of the step of each sample, in order of time.
        truncated: shape (n,), 1 if the completion was cut off; NaN where not recorded.
    """
    from scipy.stats import rankdata  # noqa: PLC0415 - a second to import, and a log without samples needs none

    known = np.isfinite(length)
    if known.sum() < 2:
        nothing = not_judged("completion lengths were not recorded")
        nan = float("nan")
        return LengthBias(
            pearson=nothing, spearman=nothing, within_step=nothing, start_length=nan, end_length=nan, gain=nothing,
            gain_at_equal_length=nothing, length_change=nothing,
        )  # fmt: skip
    reward, length, step = reward[known], length[known], step[known]
    x, y = standardised(length), standardised(reward)
    products = _products(x, y, step, truncated[known] != 1.0)
    third = (int(step.max()) + 1) / 3
    early, late = (step < third).astype(np.float64), (step >= 2 * third).astype(np.float64)
    ends = cluster_sums(step, np.stack([early, early * x, early * y, late, late * x, late * y]))
    sums = np.concatenate([ends, products], axis=1)
    scale_x, scale_y = float(length.std()), float(reward.std())

    def change(total: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        longer = total[:, 4] / total[:, 3] - total[:, 1] / total[:, 0]
        gain = total[:, 5] / total[:, 3] - total[:, 2] / total[:, 0]
        slope = np.where(total[:, 6] > 1e-9, total[:, 8] / np.maximum(total[:, 6], 1e-12), 0.0)
        return longer, gain, slope

    def at_equal_length(total: FloatArray) -> FloatArray:
        longer, gain, slope = change(total)
        rest: FloatArray = (gain - slope * longer) * scale_y
        return rest

    count = len(reward)
    present = sums[np.bincount(step) > 0]
    with np.errstate(all="ignore"):
        start = float((early * length).sum() / early.sum())
        end = float((late * length).sum() / late.sum())
    return LengthBias(
        pearson=bootstrap(_moments(x, y, step), correlation, samples=count),
        spearman=bootstrap(
            _moments(standardised(rankdata(length)), standardised(rankdata(reward)), step), correlation, samples=count
        ),
        within_step=bootstrap(products[products[:, 0] > 0.0], centred_correlation, samples=count),
        start_length=start,
        end_length=end,
        gain=bootstrap(present, lambda total: change(total)[1] * scale_y, samples=count),
        gain_at_equal_length=bootstrap(present, at_equal_length, samples=count),
        length_change=bootstrap(present, lambda total: change(total)[0] * scale_x, samples=count),
    )


def _products(x: FloatArray, y: FloatArray, step: IntArray, ended: NDArray[np.bool_]) -> FloatArray:
    """Return, by step, the sums (xx, yy, xy) of completions that ended by themselves about their mean in the step."""
    inside_x, inside_y = np.zeros_like(x), np.zeros_like(y)
    inside_x[ended], inside_y[ended] = within(x[ended], step[ended]), within(y[ended], step[ended])
    return cluster_sums(step, np.stack([inside_x**2, inside_y**2, inside_x * inside_y]))


def _moments(x: FloatArray, y: FloatArray, step: IntArray) -> FloatArray:
    return cluster_sums(step, np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y]))


def _lower(estimate: Estimate, sign: float) -> float:
    """Return the end of the interval that is nearer to 0 when the estimate has this sign."""
    return min(sign * estimate.low, sign * estimate.high)
