"""A reward that is earned by length: it goes up and down with the length of the texts, which grows."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.recording.rows import Block

Row = Mapping[str, float | None]

PAIRS, LEAST = 60, 24
"""Changes from row to row that are compared, and those that a judgement needs."""
ERRORS = 3.5
INFLATION = 1.22
"""Variance of the number of agreeing signs over a coin's: successive differences of independent values have the same
sign in one case of three, which correlates successive agreements by (1/3)^2 = 1/9, once on either side."""
LONGER = 1.5
CUT_OFF = 0.25
START = 5
RECENT = 8
_BOUNDS = [0.5 * count + 0.5 * ERRORS * math.sqrt(INFLATION * count) for count in range(PAIRS + 1)]


@dataclass(slots=True)
class RewardFollowsLength:
    """Reports `reward-follows-length`, a note: texts got longer, rewards rose, and batch by batch the two go together.

    Two trends always correlate, so levels are not compared, but changes: among the last 24 to 60 rows the signs of the
    change in reward and in length agree more often than half by 3.5 standard errors (45 of 60, 22 of 24; a correlation
    of .7 gives three quarters), while the median length of 8 rows is above 1.5 times its start (the median of the first
    5 rows), and the reward above its own. Longer answers that are longer because they reason show the growth but not
    the agreement: there, harder prompts give longer texts and lower rewards.

    A warning where, besides, completions run into the length limit as they did not at the start (.25 more of them):
    texts that are cut off seldom deserve more. Never critical: means cannot tell what a reward pays for; the partial
    correlation over single samples in `rlhf_assert.rewards` can.

    False alarms: the signs agree as often as this, at some row, in under .8 % of simulated runs of 200 rows and 4 % of
    1,000 (independent, AR(.7), t3, trends, random walks), before the growth is asked for. A note draws on no budget,
    and the warning needs two more witnesses. Needs 25 rows of `reward` and `response_length`.

    Sources: D. R. Cox, A. Stuart, "Some quick sign tests", Biometrika 42 (1955); P. Singhal et al., "A long way to go:
    investigating length correlations in RLHF" (2023), for partial correlations of .6 to .75.
    """

    name: str = "reward-follows-length"
    _lengths: list[float] = field(default_factory=list)
    _rewards: list[float] = field(default_factory=list)
    _cut: float | None = None
    _agree: deque[bool] = field(default_factory=lambda: deque(maxlen=PAIRS))
    _steps: deque[int] = field(default_factory=lambda: deque(maxlen=PAIRS))
    _recent: deque[Row] = field(default_factory=lambda: deque(maxlen=RECENT))
    _sum: int = 0
    _reward: float = 0.0
    _length: float = 0.0
    _noted: int | None = None
    _done: bool = False

    @property
    def finished(self) -> bool:
        """Whether no later row can make it report."""
        return self._done

    def update(self, step: int, metrics: Row) -> list[Anomaly]:
        """Take one row; rows without a finite reward and length are passed over."""
        reward, length = metrics.get("reward"), metrics.get("response_length")
        if reward is None or length is None or reward - reward != 0.0 or length - length != 0.0 or self._done:
            return []
        up, longer = reward - self._reward, length - self._length
        self._reward, self._length = reward, length
        self._recent.append(metrics)
        if len(self._lengths) < START:
            self._lengths.append(length)
            self._rewards.append(reward)
            self._cut = _middle(self._recent, "truncated_fraction")
            if len(self._lengths) == 1:
                return []
        if up == 0.0 or longer == 0.0:
            return []
        agree, signs = (up > 0.0) is (longer > 0.0), self._agree
        self._sum += agree - (signs[0] if len(signs) == PAIRS else False)
        signs.append(agree)
        self._steps.append(step)
        count = len(signs)
        return self._judge(step) if count >= LEAST and self._sum >= _BOUNDS[count] else []

    def absorb(self, block: Block) -> bool:
        """Take a block in which the signs agree no more often than they may."""
        rewards, lengths = block.metrics.get("reward"), block.metrics.get("response_length")
        if rewards is None or lengths is None:
            return True
        if len(self._lengths) < START:
            return False
        up, longer = np.diff(rewards, prepend=self._reward), np.diff(lengths, prepend=self._length)
        tells = (up != 0.0) & (longer != 0.0)
        signs = np.append(np.array(self._agree, dtype=bool), ((up > 0.0) == (longer > 0.0))[tells])
        sums = np.append(0, np.cumsum(signs))
        ends = np.arange(len(self._agree) + 1, len(signs) + 1)
        counts = np.minimum(ends, PAIRS)
        if ((counts >= LEAST) & (sums[ends] - sums[ends - counts] >= np.array(_BOUNDS)[counts])).any():
            return False
        self._reward, self._length = float(rewards[-1]), float(lengths[-1])
        self._recent.extend([metrics for _, metrics in block.tail(RECENT)])
        self._agree.extend(signs[len(self._agree) :][-PAIRS:].tolist())
        self._steps.extend(block.steps[tells][-PAIRS:].tolist())
        self._sum = sum(self._agree)
        return True

    def _judge(self, step: int) -> list[Anomaly]:
        was, now = median(self._lengths), _middle(self._recent, "response_length") or 0.0
        begin, reward = median(self._rewards), _middle(self._recent, "reward") or 0.0
        if now < LONGER * was or was <= 0.0 or reward <= begin:
            return []
        cut = _middle(self._recent, "truncated_fraction")
        self._done = cut is not None and self._cut is not None and cut > self._cut + CUT_OFF
        if self._noted is not None and not self._done:
            return []
        self._noted = self._steps[0] if self._noted is None else self._noted
        share = self._sum / len(self._agree)
        evidence: dict[str, float | int | str] = {
            "agreement": share,
            "rows": len(self._agree),
            "length_start": was,
            "length": now,
            "reward_start": begin,
            "value": reward,
        }
        if self._done:
            evidence["truncated"] = cut or 0.0
        return [
            Anomaly(
                kind="reward-follows-length",
                metric="reward",
                severity=Severity.warning if self._done else Severity.info,
                onset=self._noted,
                summary=f"went with the length in {share:.0%} of {len(self._agree)} rows to step {step}, while texts "
                f"grew from {was:.4g} to {now:.4g} tokens" + (f"; {cut:.0%} are cut off" if self._done else ""),
                evidence=evidence,
                causes=("the reward pays for length", "longer answers are better answers"),
                remedy="regress the reward of single samples on their length (rlhf-assert rewards), and read the "
                "longest; penalise length if they ramble",
            )
        ]


def _middle(rows: deque[Row], metric: str) -> float | None:
    values = [value for row in rows if (value := row.get(metric)) is not None and value - value == 0.0]
    return median(values) if values else None


SPEC = DetectorSpec("reward-follows-length", lambda _: RewardFollowsLength())
