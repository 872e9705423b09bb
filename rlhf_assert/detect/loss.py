"""A supervised or preference loss that gives back what was learnt."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.budget import Budget
from rlhf_assert.detect.level import LONG, Level

Row = Mapping[str, float | None]

START = 5
SUSTAINED = 16
TRIES = 4
"""A level is tested again 30 rows after a shift that stayed under the start; the rate is split over as many tries."""
ABOVE, FAR_ABOVE = 1.2, 1.5
"""Times the start: a rise back to it is not yet worse than having learnt nothing, and levels wander by a tenth."""


@dataclass(slots=True)
class LossRise:
    """Reports `loss-rise`: a level shift (see `level`, 12 of 16 rows) of the loss upwards, to 1.2 times its start.

    The start is the median of the first 5 rows. A warning; critical if the loss is 1.5 times its start 16 rows later:
    the model is worse than the one that training began with. Only in logs without rewards, where the loss is what is
    minimised (SFT, ORPO, DPO, KTO, reward models); a policy-gradient loss means nothing by its level.

    False alarms: its part of the run's budget. Needs 26 rows of a positive loss.
    """

    budget: Budget = field(default_factory=Budget)
    name: str = "loss-rise"
    _level: Level = field(default_factory=lambda: Level(LONG, TRIES))
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
        rose = self._level.update(loss, self.budget) > 0
        if self._warned is not None:
            self._since += 1
            if self._since < SUSTAINED:
                return []
            self._done = self._above(FAR_ABOVE)
            found = [self._anomaly(step, self._warned.onset, Severity.critical)] if self._done else []
            self._warned = None
            return found
        if not rose or not self._above(ABOVE):
            return []
        self._warned = self._anomaly(
            step, self._recent[-1 - min(self._level.back(), SUSTAINED - 1)][0], Severity.warning
        )
        self._since = 0
        return [self._warned]

    def _above(self, times: float) -> bool:
        return median([loss for _, loss in self._recent]) > times * median(self._start)

    def _anomaly(self, step: int, onset: int, severity: Severity) -> Anomaly:
        now, start = median([loss for _, loss in self._recent]), median(self._start)
        return Anomaly(
            kind="loss-rise",
            metric="loss",
            severity=severity,
            onset=onset,
            summary=f"rose from its level {self._level.median:.3g} at step {onset} to {now:.3g} at step {step}, "
            f"above its start {start:.3g}",
            evidence={"value": now, "level": self._level.median, "start": start, "rows": SUSTAINED},
            causes=("the learning rate is too high", "the data changed at this step", "an overflow in half precision"),
            remedy="go back to a checkpoint from before this step; lower learning_rate, or add warm-up",
        )
