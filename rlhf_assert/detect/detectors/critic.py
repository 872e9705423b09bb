"""A critic that does not fit: its loss out of scale with the rewards, or explaining nothing of the returns."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.detect.streaks import streaks
from rlhf_assert.recording.rows import Block
from rlhf_assert.recording.series import FloatArray

Row = Mapping[str, float | None]

ROWS = 10
OUT_OF_SCALE = 300.0
"""Value loss at the first row, in half mean squares of the reward: values 17 times the rewards' size."""
BY_MEAN = 3000.0
"""The same where only the rewards' mean is known, which may be small beside their spread: then the greatest mean of the
first 5 rows counts, and the loss must be 10 or more besides."""
LARGE = 1e4
"""Value loss from which the gradient of the critic drowns the policy's in a shared backbone, whatever the scale."""
GREW = 5.0
START = 3
EXPLAINED = -0.5
FITTED = 0.5
LOST = 2.0
_EVERY = 10


@dataclass(slots=True)
class Critic:
    """Compares the value loss with the rewards that the critic must predict. Reports each of these once, as a warning.

    - `value-out-of-scale`: the first value loss is 300 times the rewards' mean square or more (values far off their
      targets from the start), or above 10,000 for 10 rows (rewards that nobody normalised; a note if they have grown).
    - `value-without-reward`: the median value loss of 10 rows is 5 times the greatest of the first 3 and above 4
      times the rewards' mean square, which has not doubled: what grows is not the target but the error.
    - `explained-variance`: below -.5 in each of 10 rows, after the first 10, and no better in their median than in
      the 10 rows before: worse than predicting the mean, and not on its way to be better.
    - `critic-lost`: the median explained variance of 10 rows was above .5 and is below 0, while that of the value loss
      is more than twice what it was then. Either alone is healthy: returns that hardly differ any more leave nothing
      to explain, and returns of a larger scale raise the loss; both together are an error larger than the target.

    Needs `value_loss` and `reward`, or `explained_variance`. Source: for values near 0 the loss is half the mean square
    of the returns (Schulman et al., "High-Dimensional Continuous Control Using GAE", 2015); explained variance is 1
    less the mean squared error over the variance of the returns.
    """

    name: str = "critic"
    _losses: deque[float] = field(default_factory=lambda: deque(maxlen=ROWS))
    _rewards: deque[float] = field(default_factory=lambda: deque(maxlen=ROWS))
    _start: tuple[float, float] = (0.0, 0.0)
    _count: int = 0
    _low: int = 0
    _explained: deque[float] = field(default_factory=lambda: deque(maxlen=2 * ROWS))
    _fit: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=ROWS))
    _fitted: float = 0.0
    _first: float = 0.0
    _variances: int = 0
    _reported: set[str] = field(default_factory=set)

    def update(self, step: int, metrics: Row) -> list[Anomaly]:
        """Take one row."""
        anomalies: list[Anomaly] = []
        explained = metrics.get("explained_variance")
        if explained is not None:
            self._variances += 1
            self._low = self._low + 1 if explained < EXPLAINED and self._variances > ROWS else 0
            self._explained.append(explained)
            if self._low >= ROWS and not self._improves():
                anomalies += self._report("explained-variance", "explained_variance", step, explained, EXPLAINED)
        loss, reward = metrics.get("value_loss"), metrics.get("reward")
        if explained is not None and loss is not None and explained - explained == loss - loss == 0.0:
            self._fit.append((explained, loss))
            if self._variances % _EVERY == 0:
                anomalies += self._refit(step)
        if loss is None or reward is None or loss - loss != 0.0 or reward - reward != 0.0:
            return anomalies
        spread = metrics.get("reward_std") or 0.0
        self._count += 1
        self._losses.append(loss)
        self._rewards.append(reward * reward + spread * spread)
        if self._count <= ROWS:
            return anomalies + self._begin(step, loss, spread)
        return anomalies if self._count % _EVERY else anomalies + self._go_on(step)

    def absorb(self, block: Block) -> bool:
        """Take a block whose losses stay under every limit."""
        explained, low = block.metrics.get("explained_variance"), self._low
        if explained is not None:
            longest, low = streaks(explained < EXPLAINED, low)
            if self._variances < ROWS or (longest >= ROWS and "explained-variance" not in self._reported):
                return False
        loss, reward = block.metrics.get("value_loss"), block.metrics.get("reward")
        if loss is not None and reward is not None and not self._calm(loss):
            return False
        if explained is not None and loss is not None and not self._refits(explained, loss):
            return False
        if loss is not None and reward is not None:
            spread = block.metrics.get("reward_std", 0.0)
            self._count += len(block)
            self._losses.extend(loss[-ROWS:].tolist())
            self._rewards.extend((reward * reward + spread * spread)[-ROWS:].tolist())
        if explained is not None:
            self._low, self._variances = low, self._variances + len(block)
            self._explained.extend(explained[-2 * ROWS :].tolist())
        return True

    def _improves(self) -> bool:
        values = list(self._explained)
        return median(values[-ROWS:]) > median(values[:-ROWS])

    def _calm(self, losses: FloatArray) -> bool:
        grown = GREW * self._start[0]
        limits = {"value-out-of-scale": LARGE, "value-without-reward": grown if grown > 0.0 else math.inf}
        limit = min((limit for kind, limit in limits.items() if kind not in self._reported), default=math.inf)
        return self._count >= ROWS and max(losses.max(), *self._losses) <= limit

    def _refits(self, explained: FloatArray, losses: FloatArray) -> bool:
        """Take the fits of a block; return False and take none if one of them is negative."""
        pairs = np.concatenate([np.array(self._fit).reshape(-1, 2), np.stack([explained, losses], axis=1)])
        first = _EVERY - self._variances % _EVERY
        ends = np.arange(len(self._fit) + first, len(pairs) + 1, _EVERY)
        ends = ends[ends >= ROWS]
        fits = np.median(pairs[ends[:, None] + np.arange(-ROWS, 0)], axis=1)
        if (fits[:, 0] < 0.0).any():
            return False
        for loss in fits[fits[:, 0] > FITTED, 1][-1:].tolist():
            self._fitted = loss
        self._fit.extend(map(tuple, pairs[-ROWS:].tolist()))
        return True

    def _begin(self, step: int, loss: float, spread: float) -> list[Anomaly]:
        if self._count == 1:
            self._first = loss
        if self._count == START:
            self._start = max(self._losses), max(self._rewards)
        limit = 0.5 * max(self._rewards)
        if self._count == 1 and spread > 0.0 and loss >= OUT_OF_SCALE * limit:
            return self._report("value-out-of-scale", "value_loss", step, loss, OUT_OF_SCALE * limit)
        if self._count == 5 and spread == 0.0 and self._first >= max(10.0, BY_MEAN * limit):
            return self._report("value-out-of-scale", "value_loss", step, self._first, BY_MEAN * limit)
        return []

    def _go_on(self, step: int) -> list[Anomaly]:
        now, scale = median(self._losses), median(self._rewards)
        was, was_scale = self._start
        if min(self._losses) > LARGE:
            severity = Severity.info if scale > was_scale else Severity.warning
            return self._report("value-out-of-scale", "value_loss", step, now, LARGE, severity)
        if now > GREW * was > 0.0 and now > 4.0 * max(scale, was_scale) and scale < 2.0 * was_scale:
            return self._report("value-without-reward", "value_loss", step, now, GREW * was)
        return []

    def _refit(self, step: int) -> list[Anomaly]:
        if len(self._fit) < ROWS:
            return []
        explained, loss = (median(values) for values in zip(*self._fit, strict=True))
        if explained > FITTED:
            self._fitted = loss
        elif explained < 0.0 and loss > LOST * self._fitted > 0.0:
            return self._report("critic-lost", "explained_variance", step, explained, 0.0)
        return []

    def _report(
        self,
        kind: str,
        metric: str,
        step: int,
        value: float,
        limit: float,
        severity: Severity = Severity.warning,
    ) -> list[Anomaly]:
        if kind in self._reported:
            return []
        self._reported.add(kind)
        return [
            Anomaly(
                kind=kind,
                metric=metric,
                severity=severity,
                onset=step,
                summary=f"{value:.3g} at step {step}, limit {limit:.3g}: {_MEANINGS[kind]}",
                evidence={"value": value, "limit": limit},
                causes=(
                    "the value head was initialised or loaded out of scale",
                    "the rewards are not normalised",
                    "the KL penalty, and not the reward, makes the returns",
                ),
                remedy="normalise or bound the reward, initialise the value head near 0, lower the critic's learning "
                "rate",
            )
        ]


_MEANINGS = {
    "value-out-of-scale": "the critic is far from the rewards' scale, and advantages are noise",
    "value-without-reward": "the critic's error grows and the rewards do not",
    "explained-variance": "the critic predicts worse than the mean would",
    "critic-lost": "the critic explained more than half of the returns, and its error has outgrown them",
}


SPEC = DetectorSpec("critic", lambda _: Critic())
