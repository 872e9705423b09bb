"""A policy that moves away from its start while its reward gets worse, slowly or at once."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean, median, pvariance
from typing import Any

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.budget import Budget
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.detect.detectors.kl_runaway import kl_limit
from rlhf_assert.detect.reward_variance import no_variance
from rlhf_assert.recording.rows import Block

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
FIRST, STREAK = 3, 6
"""Rows of a start that is lost at once, and rows in succession that show it."""
LOST, NEARLY_ALL = 0.6, 0.8
"""Share of the lowest of the first rewards, above the floor, that every later one must have lost."""


@dataclass(slots=True)
class WorseThanStart:
    """Reports `reward-below-start`: the last 24 rewards are under the first 5 while the policy moved away.

    Under means: by 4 standard errors, and by 30 % of the start's distance to the floor (as in `reward`). Moved means
    that the entropy is under .6 or over 1.5 times its start, or the KL above .3 of its limit (`limit.kl_limit`): the
    relations "entropy falling" and "KL rising without reward rising", taken together. A warning; critical once three
    quarters of the start are lost, since such a policy is worse than the one that training began with.

    Or lost at once, which short and sparsely logged runs show too: each of the last 6 rewards has lost 60 % of the
    lowest of the first 3 (critical: 80 %, in 8 rows), and the policy moved, by KL as above, or in that entropy or
    length halved or doubled, or its texts are cut off as they were not. No spread is estimated, so no noise is too
    heavy-tailed for it: among 9 rows in random order the first 3 are the greatest once in 84.

    `reward-not-gained`, a note: the policy moved as for the first rule, from the 48th reward on, and the last 24 are
    not above the first 5, though groups of completions still differ in reward.

    False alarms: a fall alone happens in 4 to 20 % of runs of AR(.7) noise; with a policy that moves by itself and
    rewards that only wander, under a part of the budget. Needs 29 rows of reward (of the first 120), or 9, and entropy,
    KL, length or truncation.
    """

    algorithm: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    name: str = "reward-below-start"
    _first: list[float] = field(default_factory=list)
    _before: list[Row] = field(default_factory=list)
    _streak: int = 0
    _recent: deque[tuple[int, float, Row]] = field(default_factory=lambda: deque(maxlen=RECENT))
    _count: int = 0
    _floor: float = math.inf
    _reported: Severity = Severity.info
    _onset: int = 0
    _noted: bool = False

    @property
    def finished(self) -> bool:
        """Whether no later row can make it report."""
        return self._count >= LAST or self._reported is Severity.critical

    def update(self, step: int, metrics: Row) -> list[Anomaly]:
        """Take one row; rows without a finite reward are passed over."""
        reward = metrics.get("reward")
        if reward is None or reward - reward != 0.0 or self._count >= LAST:
            return []
        self._count += 1
        self._floor = min(self._floor, reward)
        if self._count <= START:
            self._begin(reward, metrics)
        self._recent.append((step, reward, metrics))
        if self._reported is Severity.critical:
            return []
        return self._at_once(step, reward) or ([] if self._count % _EVERY else self._slowly(step))

    def absorb(self, block: Block) -> bool:
        """Take a block without rewards."""
        return "reward" not in block.metrics

    def _begin(self, reward: float, metrics: Row) -> None:
        if not self._first:
            self.budget.claim(self.name)
        self._first.append(reward)
        self._before.append(metrics)

    def _slowly(self, step: int) -> list[Anomaly]:
        if self._count < START + RECENT:
            return []
        rewards = [reward for _, reward, _ in self._recent]
        start, now = fmean(self._first), fmean(rewards)
        gain = start - min(self._floor, 0.0)
        if now >= start - LOSS * gain or gain <= 0.0:
            return self._not_gained(step, start, now) if now <= start and self._count >= 2 * RECENT else []
        noise = pvariance(rewards)
        error = math.sqrt(max(pvariance(self._first) / (START - 1), noise / START) + noise / RECENT)
        if start - now <= SCORE * error:
            return []
        severity = Severity.critical if start - now >= 0.75 * gain else Severity.warning
        moved = self._moved(8, ("entropy",), 1.5) if severity > self._reported else ""
        return [self._anomaly(step, RECENT, start, now, moved, severity)] if moved else []

    def _not_gained(self, step: int, start: float, now: float) -> list[Anomaly]:
        if self._noted or any(no_variance(row) for _, _, row in self._recent):
            return []
        moved = self._moved(8, ("entropy",), 1.5)
        self._noted = bool(moved)
        return [_not_gained(self._recent[0][0], step, start, now, moved)] if moved else []

    def _at_once(self, step: int, reward: float) -> list[Anomaly]:
        floor = min(self._floor, 0.0)
        gain = min(self._first[:FIRST]) - floor
        if self._count <= FIRST or gain <= 0.0 or reward - floor > (1.0 - LOST) * gain:
            self._streak = 0
            return []
        self._streak += 1
        nearly_all = self._streak >= STREAK + 2 and all(
            value - floor <= (1.0 - NEARLY_ALL) * gain for _, value, _ in list(self._recent)[-STREAK - 2 :]
        )
        severity = Severity.critical if nearly_all else Severity.warning
        if self._streak < STREAK or severity <= self._reported:
            return []
        moved = self._moved(STREAK, ("entropy", "response_length"), 2.0)
        now = fmean([value for _, value, _ in list(self._recent)[-STREAK:]])
        return [self._anomaly(step, self._streak, fmean(self._first[:FIRST]), now, moved, severity)] if moved else []

    def _moved(self, last: int, metrics: tuple[str, ...], times: float) -> str:
        """Return what shows, in the last rows, that the policy has moved away from its start, or an empty string."""
        rows = [row for _, _, row in self._recent][-last:]
        for metric in metrics:
            was, now = _middle(self._before, metric), _middle(rows, metric)
            if was > 0.0 and (now < 0.9 / times * was or now > times * was):
                return f"{metric} went from {was:.3g} to {now:.3g}"
        distance = _middle(rows, "kl_div")
        if self.algorithm != "kto" and distance > 0.3 * kl_limit(rows[-1], self.algorithm, self.config):
            return f"kl is {distance:.3g}"
        if _middle(self._before, "truncated_fraction") < 0.5 and _middle(rows, "truncated_fraction") > 0.9:
            return "completions are cut off"
        return ""

    def _anomaly(self, step: int, count: int, start: float, now: float, moved: str, severity: Severity) -> Anomaly:
        if self._reported is Severity.info:
            self._onset = list(self._recent)[-min(count, RECENT)][0]
        self._reported = severity
        return Anomaly(
            kind="reward-below-start",
            metric="reward",
            severity=severity,
            onset=self._onset,
            summary=f"{now:.3g} over the {count} rows to step {step}, under its start {start:.3g}, while {moved}",
            evidence={"value": now, "start": start, "rows": count, "corroboration": moved},
            causes=(
                "advantages or rewards with the wrong sign",
                "the learning rate is too high",
                "the KL coefficient is negative or the penalty outweighs the reward",
            ),
            remedy="check the signs of reward, advantage and loss on one batch; lower learning_rate",
        )


def _not_gained(onset: int, step: int, start: float, now: float, moved: str) -> Anomaly:
    return Anomaly(
        kind="reward-not-gained",
        metric="reward",
        severity=Severity.info,
        onset=onset,
        summary=f"{now:.3g} over the {RECENT} rows to step {step}, not above its start {start:.3g}, while {moved}",
        evidence={"value": now, "start": start, "rows": RECENT, "corroboration": moved},
        causes=(
            "the rewards do not depend on the texts (shuffled, random, delayed)",
            "another term of the loss moves the policy",
            "a hard task, and a slow start",
        ),
        remedy="shuffle the rewards by hand for one run: if its curves look the same, the reward reaches no update",
    )


def _middle(rows: list[Row], metric: str) -> float:
    """Return the median of a metric over rows; NaN, which no comparison passes, where fewer than 3 rows have it."""
    values = [value for row in rows if (value := row.get(metric)) is not None]
    return median(values) if len(values) >= FIRST else math.nan


SPEC = DetectorSpec(
    "reward-below-start", lambda context: WorseThanStart(context.algorithm, context.config, context.budget)
)
