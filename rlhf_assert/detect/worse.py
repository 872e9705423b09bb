"""A policy that moves away from its start while its reward gets worse: the gradient has the wrong sign or none."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean, median, pvariance
from typing import Any

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.budget import Budget
from rlhf_assert.detect.limit import kl_limit

Row = Mapping[str, float | None]

START = 5
"""Rows that set the start."""
RECENT = 24
"""Rows that are compared with it."""
SCORE = 4.0
"""Standard errors of the difference of the two means (Welch), as if rows were independent: AR(.7) noise inflates
a standard error 2.4 fold, so these are 1.7 true ones, and the policy's movement must corroborate."""
LOSS = 0.3
_EVERY = 4
LAST = 120
"""Rows after which a start is no longer compared with: what falls later falls from a level, see `reward`."""


@dataclass(slots=True)
class WorseThanStart:
    """Reports `reward-below-start`: the last 24 rewards are under the first 5 while the policy moved away.

    Under means: by 4 standard errors, and by 30 % of the start's distance to the floor (as in `reward`). Moved means
    that the entropy is under .6 or over 1.5 times its start, or the KL above .3 of its limit (`limit.kl_limit`): the
    relations "entropy falling" and "KL rising without reward rising", taken together. A warning; critical once three
    quarters of the start are lost, since such a policy is worse than the one that training began with.

    False alarms: a fall alone happens in 4 to 20 % of runs of AR(.7) noise; with a policy that moves by itself and
    rewards that only wander, under a part of the budget. Needs 29 rows of reward (of the first 120), and entropy or KL.
    """

    algorithm: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    name: str = "reward-below-start"
    _first: list[float] = field(default_factory=list)
    _entropy: list[float] = field(default_factory=list)
    _recent: deque[tuple[int, float, Row]] = field(default_factory=lambda: deque(maxlen=RECENT))
    _count: int = 0
    _floor: float = math.inf
    _reported: Severity = Severity.info
    _onset: int = 0

    @property
    def finished(self) -> bool:
        """Whether no later row can make it report."""
        return self._count >= LAST or self._reported is Severity.critical

    def update(self, step: int, metrics: Row) -> list[Anomaly]:  # noqa: C901 - a chain of reasons to return early
        """Take one row; rows without a finite reward are passed over."""
        reward = metrics.get("reward")
        if reward is None or reward - reward != 0.0 or self._count >= LAST:
            return []
        self._count += 1
        self._floor = min(self._floor, reward)
        if len(self._first) < START:
            if not self._first:
                self.budget.claim(self.name)
            self._first.append(reward)
            entropy = metrics.get("entropy")
            if entropy is not None and entropy > 0.0:
                self._entropy.append(entropy)
            return []
        self._recent.append((step, reward, metrics))
        if self._count % _EVERY or len(self._recent) < RECENT or self._reported is Severity.critical:
            return []
        rewards = [reward for _, reward, _ in self._recent]
        start, now = fmean(self._first), fmean(rewards)
        gain = start - min(self._floor, 0.0)
        if now >= start - LOSS * gain or gain <= 0.0:
            return []
        noise = pvariance(rewards)
        error = math.sqrt(max(pvariance(self._first) / (START - 1), noise / START) + noise / RECENT)
        if start - now <= SCORE * error:
            return []
        moved = self._moved()
        if not moved:
            return []
        severity = Severity.critical if start - now >= 0.75 * gain else Severity.warning
        if severity <= self._reported:
            return []
        if self._reported is Severity.info:
            self._onset = self._recent[0][0]
        self._reported = severity
        return [self._anomaly(step, start, now, moved, severity)]

    def _moved(self) -> str:
        rows = [row for _, _, row in self._recent][-8:]
        entropies = [value for row in rows if (value := row.get("entropy")) is not None]
        if entropies and len(self._entropy) >= 3:
            was, now = median(self._entropy), median(entropies)
            if now < 0.6 * was or now > 1.5 * was:
                return f"entropy went from {was:.3g} to {now:.3g}"
        distances = [value for row in rows if (value := row.get("kl_div")) is not None]
        if distances and self.algorithm != "kto":
            limit = kl_limit(rows[-1], self.algorithm, self.config)
            if median(distances) > 0.3 * limit:
                return f"kl is {median(distances):.3g}"
        return ""

    def _anomaly(self, step: int, start: float, now: float, moved: str, severity: Severity) -> Anomaly:
        return Anomaly(
            kind="reward-below-start",
            metric="reward",
            severity=severity,
            onset=self._onset,
            summary=f"{now:.3g} over the {RECENT} rows to step {step}, under its start {start:.3g}, while {moved}",
            evidence={"value": now, "start": start, "rows": RECENT, "corroboration": moved},
            causes=(
                "advantages or rewards with the wrong sign",
                "the learning rate is too high",
                "the KL coefficient is negative or the penalty outweighs the reward",
            ),
            remedy="check the signs of reward, advantage and loss on one batch; lower learning_rate",
        )
