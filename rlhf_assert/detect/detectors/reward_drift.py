"""A reward that is lost slowly, or in rows too noisy to show it one by one: what a level shift does not see."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import combinations
from operator import mul
from statistics import fmean, pvariance
from typing import NamedTuple

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.detect.detectors.reward_collapse import LOSS, NEARLY_ALL
from rlhf_assert.recording.rows import Block

Row = Mapping[str, float | None]

BLOCK, BLOCKS = 8, 32
"""Rows of a block at first, and blocks at which pairs are merged: from 16 to 32 of them span the whole run."""
LEAST = RECENT = 12
"""Blocks that a test needs, and those of the recent part. What falls within 96 rows is for `reward` to see."""
MONOTONE = 0.7
"""Kendall's tau of the blocks' means with time, in size; a step in the middle has .55, a straight fall 1."""
SCORE = 3.5
"""Row spreads by which the line must fall. Benign trends are those of up to 3 (see tests/calibration), which come to
3.3 with their noise. AR(.7) noise, whose blocks are nearly independent, falls so steadily by 2.5 in .5 % of runs."""
FAR = 1.5
"""Spreads more, from which it may be critical."""

STEP, SURE = 4, 6.0
"""Blocks that lie lower, and standard errors by which they do; the 8 blocks before rate the noise with 10 degrees of
freedom, so this is far out in a tail of Student's."""
PLAIN = 3.0
"""Row spreads from which a fall at once is for `reward` to see."""


class _Block(NamedTuple):
    first: int
    mean: float
    squares: float  # sum of the squared deviations from the mean


@dataclass(slots=True)
class RewardDrift:
    """Reports `reward-drift`: the reward falls steadily, over the whole run or its last part, and has lost 30 %.

    The run is held as 16 to 32 blocks of equal length, which grows. At the end of each block, over all of them and over
    the last 12 (three eighths to three quarters of the run): Kendall's tau of the blocks' means with time is under -.7,
    and their least-squares line falls by 3.5 spreads of a row (around that line) and by 30 % of the gain, which is
    counted as in `reward`. The onset is at the last block that is not
    below the greatest by 2 standard errors. A warning; critical once the line has lost four fifths
    of the gain, and 5 spreads. A `level` shift compares with the recent past and cannot see what is lost over hundreds
    of rows. Or it falls at once in rows that scatter as much as it falls (rewards of a few samples a row): each of the
    last 4 blocks is lower than every one of the 8 before, by 30 % of the gain in the mean and by 6 standard errors.

    False alarms: none in simulated runs of 200 and 1,000 rows for independent, t3 and discrete noise, .4 % for AR(.7)
    noise, 1 % for trends of up to 3 spreads in 200 rows, so it draws on no budget. AR(.8) noise gives 4 % at 1,000
    rows, AR(.9) more: what nears a random walk cannot be told from a loss. Needs 96 rows of reward.

    Sources: H. B. Mann, "Nonparametric tests against trend", Econometrica 13 (1945), with the threshold on the size of
    the fall in place of a correction for autocorrelation (Yue, Wang 2004), which a dozen blocks cannot estimate.
    """

    threshold: float = SCORE
    name: str = "reward-drift"
    _blocks: list[_Block] = field(default_factory=list)
    _length: int = BLOCK
    _values: list[float] = field(default_factory=list)
    _first: int = 0
    _floor: float = 0.0
    _reported: Anomaly | None = None
    _done: bool = False

    @property
    def finished(self) -> bool:
        """Whether no later row can make it report."""
        return self._done

    def update(self, step: int, metrics: Row) -> list[Anomaly]:
        """Take one row; rows without a finite reward are passed over."""
        reward = metrics.get("reward")
        if reward is None or reward - reward != 0.0 or self._done:
            return []
        values = self._values
        if not values:
            self._first = step
        values.append(reward)
        return self._complete(step) if len(values) == self._length else []

    def absorb(self, block: Block) -> bool:
        """Take a block in which no test reports."""
        rewards = block.metrics.get("reward")
        if rewards is None or self._done:
            return True
        before = replace(self, _blocks=self._blocks.copy(), _values=self._values.copy())
        steps, values = block.steps.tolist(), rewards.tolist()
        begin = 0
        while begin < len(values):
            end = min(len(values), begin + self._length - len(self._values))
            if not self._values:
                self._first = steps[begin]
            self._values += values[begin:end]
            if len(self._values) == self._length and self._complete(steps[end - 1]):
                for part in fields(self):
                    setattr(self, part.name, getattr(before, part.name))
                return False
            begin = end
        return True

    def _complete(self, step: int) -> list[Anomaly]:
        values = self._values
        self._floor = min(self._floor, *values)
        mean = math.fsum([value / self._length for value in values])
        self._blocks.append(_Block(self._first, mean, sum([(value - mean) * (value - mean) for value in values])))
        values.clear()
        if len(self._blocks) < LEAST:
            return []
        recent = self._blocks[-RECENT:]
        anomalies = self._test(step, self._blocks) or self._test(step, recent) or self._lower(step, recent)
        if len(self._blocks) == BLOCKS:
            self._merge()
        return anomalies

    def _test(self, step: int, blocks: list[_Block]) -> list[Anomaly]:
        means = [block.mean for block in blocks]
        count = len(means)
        if means[-1] >= means[0]:
            return []
        middle, centre = 0.5 * (count - 1), sum(means) / count
        slope = sum([(place - middle) * mean for place, mean in enumerate(means)]) * 12.0 / (count * (count**2 - 1))
        off = [mean - centre - slope * (place - middle) for place, mean in enumerate(means)]
        rest = sum(map(mul, off, off))
        within = sum([block.squares for block in blocks]) - count * self._length * slope * slope / 12.0
        spread = math.sqrt(max(within + self._length * rest, 0.0) / (count * self._length - 2))
        start, fall = centre - slope * middle, -slope * (count - 1)
        gain = start - self._floor
        if not 0.0 < spread < math.inf or fall < LOSS * gain:
            return []
        score, severity = fall / spread, Severity.critical if fall >= NEARLY_ALL * gain else Severity.warning
        if severity is Severity.critical and score <= self.threshold + FAR:
            severity = Severity.warning
        if self._reported is not None and severity is Severity.warning:
            return []
        if score <= self.threshold or _tau(means) > -MONOTONE:
            return []
        high = max(means) - 2.0 * spread / math.sqrt(self._length)
        last = max(place for place, mean in enumerate(means) if mean >= high)
        onset = self._reported.onset if self._reported else blocks[last].first
        self._done = severity is Severity.critical
        evidence = {"value": means[-1], "start": start, "spread": spread, "z": -score, "share_lost": fall / gain}
        self._reported = _anomaly(onset, step, severity, evidence, start - fall)
        return [self._reported]

    def _lower(self, step: int, blocks: list[_Block]) -> list[Anomaly]:
        means = [block.mean for block in blocks]
        before, since = means[:-STEP], means[-STEP:]
        if self._reported is not None or max(since) >= min(before):
            return []
        start, now = fmean(before), fmean(since)
        rest = len(before) * pvariance(before, start) + STEP * pvariance(since, now)
        error = math.sqrt(rest / (len(means) - 2) * (1.0 / len(before) + 1.0 / STEP))
        gain, fall = start - self._floor, start - now
        spread = math.sqrt(sum([block.squares for block in blocks]) / (len(blocks) * (self._length - 1)))
        if fall < LOSS * gain or fall < SURE * error or fall > PLAIN * spread:
            return []
        evidence = {"value": now, "start": start, "share_lost": fall / gain, "standard_error": error}
        self._reported = _anomaly(blocks[-STEP].first, step, Severity.warning, evidence, now)
        return [self._reported]

    def _merge(self) -> None:
        pairs = zip(self._blocks[::2], self._blocks[1::2], strict=True)
        self._blocks = [
            _Block(
                one.first,
                0.5 * (one.mean + two.mean),
                one.squares + two.squares + 0.5 * self._length * (one.mean - two.mean) * (one.mean - two.mean),
            )
            for one, two in pairs
        ]
        self._length *= 2


def _tau(values: list[float]) -> float:
    """Return Kendall's tau of the values with their order."""
    pairs = list(combinations(values, 2))
    return sum((later > earlier) - (later < earlier) for earlier, later in pairs) / len(pairs)


def _anomaly(
    onset: int, step: int, severity: Severity, evidence: Mapping[str, float | int | str], end: float
) -> Anomaly:
    return Anomaly(
        kind="reward-drift",
        metric="reward",
        severity=severity,
        onset=onset,
        summary=f"falls from {evidence['start']:.3g} at step {onset} to {end:.3g} at step {step}",
        evidence=evidence,
        causes=(
            "the policy over-fits to something else than this reward (another reward term, a penalty)",
            "the learning rate is too high for this stage, or never decays",
            "the prompts become harder",
        ),
        remedy="go back to a checkpoint from before this step; lower learning_rate; look at each reward's own curve",
    )


SPEC = DetectorSpec(
    "reward-drift", lambda context: RewardDrift(context.threshold or SCORE), knob="spreads that the line falls by"
)
