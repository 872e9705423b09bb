"""Preferences that turn round: what was preferred is now rejected."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from statistics import fmean, median, pvariance

import numpy as np

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.detect.level import spread_of
from rlhf_assert.recording.rows import Block

Row = Mapping[str, float | None]

CHANCE = {"reward_margin": 0.0, "reward_accuracy": 0.5}
"""Metric -> its value for a model that knows no preference."""
ROWS = 4
PAST = 10
CERTAIN = 3.0
"""Spreads by which the level before must be above chance: no row of noise then lies below it."""
TURNED = 0.3
"""Share of the level above chance by which the last rows must lie below chance."""
LONG_PAST, LONG_ROWS = 24, 16
SURE = 7.0
"""Standard errors, as of independent rows, by which the mean of a part must differ from chance: 2.9 true ones in AR(.7)
noise, whose means are 2.4 times as uncertain."""


@dataclass(slots=True)
class PreferenceReversal:
    """Reports `preference-reversed`, a warning, once: margins or accuracies above chance that come to lie below it.

    That is, each of 4 rows below chance by 30 % of the level before or more. The level is the median of the 10 rows
    before, which must be above chance by 3 spreads (as in `level`, widened for 10 rows). Or, where batches are small
    and noisy: the mean of 24 rows above chance, and that of the next 16 below it, each by 7 standard errors. A
    preference model that was right and becomes confidently wrong sees other labels than before, or has diverged.

    False alarms, by simulation around chance: .02 of 1,000 rows of AR(.7) noise, .005 of 200 rows, none of independent
    and t3 noise; it draws on no budget. Needs 14 rows (40 for the second
    rule) of `reward_margin` or `reward_accuracy`.
    """

    name: str = "preference-reversal"
    _values: dict[str, deque[tuple[int, float]]] = field(
        default_factory=lambda: {metric: deque(maxlen=LONG_PAST + LONG_ROWS) for metric in CHANCE}
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
            turned = _at_once(values[-PAST - ROWS :], chance) or _on_average(values, chance)
            if turned is not None:
                level, now, place = turned
                self._done = True
                return [_anomaly(step, rows[place][0], metric, level, now)]
        return []

    def absorb(self, block: Block) -> bool:
        """Take a block in which no value is below chance."""
        watched = {metric: block.metrics[metric] for metric in CHANCE if metric in block.metrics}
        if any(np.any(values < CHANCE[metric]) for metric, values in watched.items()):
            return False
        for metric, values in watched.items():
            last = slice(-LONG_PAST - LONG_ROWS, None)
            self._values[metric].extend(zip(block.steps[last].tolist(), values[last].tolist(), strict=True))
        return True


def _at_once(values: Sequence[float], chance: float) -> tuple[float, float, int] | None:
    """Return the level before, the greatest value since, and the place of the turn from the end; None without one."""
    level, now = median(values[:PAST]), max(values[PAST:])
    spread = spread_of([one - level for one in values[:PAST]]) * (1.0 + 4.0 / PAST)
    if level - chance >= CERTAIN * spread and now <= chance - TURNED * (level - chance):
        return level, now, -ROWS
    return None


def _on_average(values: Sequence[float], chance: float) -> tuple[float, float, int] | None:
    """Return the mean before, that since, and the place of the turn from the end; None without one."""
    if len(values) < LONG_PAST + LONG_ROWS:
        return None
    before, since = fmean(values[:LONG_PAST]), fmean(values[LONG_PAST:])
    if not since < chance < before:
        return None
    squares = LONG_PAST * pvariance(values[:LONG_PAST], before) + LONG_ROWS * pvariance(values[LONG_PAST:], since)
    spread = sqrt(squares / (LONG_PAST + LONG_ROWS - 2))
    if before - chance < SURE * spread / sqrt(LONG_PAST) or chance - since < SURE * spread / sqrt(LONG_ROWS):
        return None
    # The most likely place of a change of the mean is where the sum of the deviations from the whole's is greatest.
    place = int(np.argmax(np.cumsum(np.asarray(values) - fmean(values)))) + 1
    return before, since, place - len(values)


def _anomaly(step: int, onset: int, metric: str, level: float, now: float) -> Anomaly:
    return Anomaly(
        kind="preference-reversed",
        metric=metric,
        severity=Severity.warning,
        onset=onset,
        summary=f"turned round at step {onset}: {now:.3g} at step {step}, {level:.3g} before",
        evidence={"value": now, "level": level},
        causes=("chosen and rejected are swapped in part of the data", "the learning rate is too high"),
        remedy="look at a few pairs of this step for swapped labels; go back to a checkpoint from before it",
    )


SPEC = DetectorSpec("preference-reversal", lambda _: PreferenceReversal())
