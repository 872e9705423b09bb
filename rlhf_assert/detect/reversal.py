"""Preferences that turn round: what was preferred is now rejected."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.level import spread_of
from rlhf_assert.rows import Block

Row = Mapping[str, float | None]

CHANCE = {"reward_margin": 0.0, "reward_accuracy": 0.5}
"""Metric -> its value for a model that knows no preference."""
ROWS = 4
PAST = 10
CERTAIN = 3.0
"""Spreads by which the level before must be above chance: no row of noise then lies below it."""
TURNED = 0.3
"""Share of the level above chance by which the last rows must lie below chance."""


@dataclass(slots=True)
class PreferenceReversal:
    """Reports `preference-reversed`, a warning, once: margins or accuracies above chance that come to lie below it.

    That is, each of 4 rows below chance by 30 % of the level before or more. The level is the median of the 10 rows
    before, which must be above chance by 3 spreads (as in `level`, widened for 10 rows). A preference model that was
    right and becomes confidently wrong sees other labels than before, or has diverged.

    False alarms, by simulation around chance: under .01 of runs of 200 rows, .03 of 1,000 rows of AR(.7) noise, none of
    independent noise; it draws on no budget. Needs 14 rows of `reward_margin` or `reward_accuracy`.
    """

    name: str = "preference-reversal"
    _values: dict[str, deque[tuple[int, float]]] = field(
        default_factory=lambda: {metric: deque(maxlen=PAST + ROWS) for metric in CHANCE}
    )
    _done: bool = False

    @property
    def finished(self) -> bool:
        """Whether no later row can make it report."""
        return self._done

    def update(self, step: int, metrics: Row) -> list[Anomaly]:
        """Take one row."""
        for metric, chance in CHANCE.items():
            value = metrics.get(metric)
            if self._done or value is None or value - value != 0.0:
                continue
            rows = self._values[metric]
            rows.append((step, value))
            if value >= chance or len(rows) < PAST + ROWS:
                continue
            values = [one for _, one in rows]
            level, now = median(values[:PAST]), max(values[PAST:])
            spread = spread_of([one - level for one in values[:PAST]]) * (1.0 + 4.0 / PAST)
            if level - chance >= CERTAIN * spread and now <= chance - TURNED * (level - chance):
                self._done = True
                return [_anomaly(step, rows[PAST][0], metric, level, now)]
        return []

    def absorb(self, block: Block) -> bool:
        """Take a block in which no value is below chance."""
        watched = {metric: block.metrics[metric] for metric in CHANCE if metric in block.metrics}
        if any(np.any(values < CHANCE[metric]) for metric, values in watched.items()):
            return False
        for metric, values in watched.items():
            last = slice(-PAST - ROWS, None)
            self._values[metric].extend(zip(block.steps[last].tolist(), values[last].tolist(), strict=True))
        return True


def _anomaly(step: int, onset: int, metric: str, level: float, now: float) -> Anomaly:
    return Anomaly(
        kind="preference-reversed",
        metric=metric,
        severity=Severity.warning,
        onset=onset,
        summary=f"turned round at step {onset}: {now:.3g} at step {step}, {level:.3g} before",
        evidence={"value": now, "level": level, "rows": ROWS},
        causes=("chosen and rejected are swapped in part of the data", "the learning rate is too high"),
        remedy="look at a few pairs of this step for swapped labels; go back to a checkpoint from before it",
    )
