"""A supervised or preference loss that gives back what was learnt."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.budget import Budget
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.detect.level import LONG, SHORT, Level, levels_after
from rlhf_assert.recording.rows import Block

Row = Mapping[str, float | None]

START = 5
SUSTAINED = 16
TRIES = 8
"""A level is tested again 30 rows after a shift that did not matter, in two windows: so many tries split the rate."""
LOCAL = 16
"""Rows of the past of a third window, to which a steep start is no noise."""
ABOVE, FAR_ABOVE = 1.3, 1.75
"""Times the start: levels wander by a tenth, so a rise back to it is not yet worse than having learnt nothing."""
LEARNT, GIVEN_BACK, RISE = 0.15, 0.6, 0.18
"""Share of the start that must have been gained, and share of that gain whose loss counts however low the loss is, if
it is that share of the start besides."""


@dataclass(slots=True)
class LossRise:
    """Reports `loss-rise`: a level shift (see `level`, each of 4 rows or 12 of 16) of the loss upwards that matters.

    The 12 of 16 are compared with 16 rows, too: in a short log the steep start is most of what there was.

    It matters if the loss comes to 1.3 times its start (the median of the first 5 rows), or if 60 % of a gain is lost,
    where both the gain and the loss of it are a good part of the start (15 and 18 %). A warning; critical if the loss
    is 1.75 times its start 16 rows later: the model is worse than the one that training began with. Only in logs
    without rewards, where the loss is what is minimised (SFT, ORPO, DPO, KTO, reward models); a policy-gradient loss
    means nothing by its level.

    False alarms: its part of the run's budget. Needs 10 rows of a positive loss.
    """

    budget: Budget = field(default_factory=Budget)
    name: str = "loss-rise"
    _levels: tuple[Level, ...] = field(
        default_factory=lambda: (Level(SHORT, TRIES), Level(LONG, TRIES), Level(LONG, TRIES, LOCAL))
    )
    _start: list[float] = field(default_factory=list)
    _recent: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=SUSTAINED))
    _warned: Anomaly | None = None
    _since: int = 0
    _done: bool = False

    @property
    def finished(self) -> bool:
        """Whether no later row can make it report."""
        return self._done

    def update(self, step: int, metrics: Row) -> list[Anomaly]:
        """Take one row; rows without a finite loss are passed over."""
        if self._done:
            return []
        loss = metrics.get("loss")
        if "reward" in metrics or "reward_std" in metrics or (loss is not None and loss <= 0.0):
            self._done = True
            return []
        if loss is None or loss - loss != 0.0:
            return []
        if len(self._start) < START:
            if not self._start:
                self.budget.claim(self.name)
            self._start.append(loss)
        self._recent.append((step, loss))
        rose = [level for level in self._levels if level.update(loss, self.budget) > 0]
        if self._warned is not None:
            return self._follow(step)
        for level in rose:
            now, start = self._now(level.window), median(self._start)
            gain = start - level.median
            lost = now - level.median
            if now > ABOVE * start or (gain >= LEARNT * start and lost >= max(GIVEN_BACK * gain, RISE * start)):
                onset = self._recent[-1 - min(level.back(), len(self._recent) - 1)][0]
                self._warned, self._since = _anomaly(step, onset, now, level.median, start, Severity.warning), 0
                return [self._warned]
        return []

    def absorb(self, block: Block) -> bool:
        """Take a block in which the loss does not rise from its levels."""
        loss = block.metrics.get("loss")
        if self._done or "reward" in block.metrics or "reward_std" in block.metrics:
            return self._done
        if loss is None:
            return True
        if self._warned is not None or len(self._start) < START or loss.min() <= 0.0:
            return False
        levels = levels_after(self._levels, loss, self.budget, direction=1)
        if levels is None:
            return False
        self._levels = levels
        self._recent.extend(zip(block.steps[-SUSTAINED:].tolist(), loss[-SUSTAINED:].tolist(), strict=True))
        return True

    def _follow(self, step: int) -> list[Anomaly]:
        warned = self._warned
        assert warned is not None
        self._since += 1
        if self._since < SUSTAINED:
            return []
        self._warned = None
        now, start = self._now(SUSTAINED), median(self._start)
        self._done = now > FAR_ABOVE * start
        level = float(warned.evidence["level"])
        return [_anomaly(step, warned.onset, now, level, start, Severity.critical)] if self._done else []

    def _now(self, rows: int) -> float:
        return median([loss for _, loss in list(self._recent)[-rows:]])


def _anomaly(step: int, onset: int, now: float, level: float, start: float, severity: Severity) -> Anomaly:
    return Anomaly(
        kind="loss-rise",
        metric="loss",
        severity=severity,
        onset=onset,
        summary=f"rose from its level {level:.3g} at step {onset} to {now:.3g} at step {step}; it began at {start:.3g}",
        evidence={"value": now, "level": level, "start": start},
        causes=("the learning rate is too high", "the data changed at this step", "an overflow in half precision"),
        remedy="go back to a checkpoint from before this step; lower learning_rate, or add warm-up",
    )


SPEC = DetectorSpec("loss-rise", lambda context: LossRise(context.budget))
