"""Entropy that leaves its range: a policy that says one thing only, or anything."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import median

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.detect.reward_variance import no_variance
from rlhf_assert.recording.rows import Block

Row = Mapping[str, float | None]

ROWS = 5
"""Rows at the start that set the level, and rows in succession that count as sustained."""


class Entropy:
    """Compares the entropy of a policy that is trained on rewards with its own start.

    The start is the greatest entropy of the first 5 rows. `entropy-collapse`: under a tenth of it for 5 rows, a warning
    (verl's GSM8K runs fall from .35 to .05 while they succeed); critical if the policy cannot learn any more (no group
    has variance, or entropy under a thousandth of its start: sampling always gives the same answer) or has not learnt
    (the reward is not above its start). `entropy-explosion`: over 3 times the start for 5 rows, a warning; critical
    if the reward has fallen below its start. Each is reported once, and once more if it becomes critical.

    Rows without a reward are passed over: falling entropy is what supervised training is for.
    """

    name = "entropy"

    def __init__(self) -> None:
        self._start: list[float] = []
        self._rewards: list[float] = []
        self._level = 0.0
        self._low, self._high = -math.inf, math.inf
        self._outside = False
        self._recent: deque[tuple[int, Row]] = deque(maxlen=ROWS)
        self._previous_reward: float | None = None
        self._streaks = {"entropy-collapse": 0, "entropy-explosion": 0}
        self._onsets = {"entropy-collapse": 0, "entropy-explosion": 0}
        self._reported: dict[str, Severity] = {}

    def update(self, step: int, metrics: Row) -> list[Anomaly]:
        """Take one row."""
        value, reward = metrics.get("entropy"), metrics.get("reward")
        if value is None or value - value != 0.0 or reward is None or reward - reward != 0.0:
            return []
        if len(self._start) < ROWS:
            self._start.append(value)
            self._rewards.append(reward)
            self._level = level = max(self._start)
            # A negative one is no entropy of tokens (a differential entropy, or a bonus with its sign).
            sound = level > 0.0 and min(self._start) >= 0.0
            self._low, self._high = (0.1 * level, 3.0 * level) if sound else (-math.inf, math.inf)
        self._recent.append((step, metrics))
        if self._low <= value <= self._high:
            if self._outside:
                self._come_back()
            return []
        self._outside = True
        anomalies = []
        for kind, outside in (("entropy-collapse", value < self._low), ("entropy-explosion", value > self._high)):
            if not outside:
                self._streaks[kind] = 0
                continue
            if self._streaks[kind] == 0 and kind not in self._reported:
                self._onsets[kind] = step
            self._streaks[kind] += 1
            if self._streaks[kind] >= ROWS and self._reported.get(kind) is not Severity.critical:
                anomalies += self._judge(kind, step, value)
        return anomalies

    def absorb(self, block: Block) -> bool:
        """Take a block in which the entropy stays in its range."""
        values = block.metrics.get("entropy")
        if values is None or "reward" not in block.metrics:
            return True
        if len(self._start) < ROWS or values.min() < self._low or values.max() > self._high:
            return False
        self._recent.extend(block.tail(ROWS))
        self._come_back()
        return True

    def _come_back(self) -> None:
        self._outside = False
        self._streaks = dict.fromkeys(self._streaks, 0)

    def _judge(self, kind: str, step: int, value: float) -> list[Anomaly]:
        why = self._collapsed() if kind == "entropy-collapse" else self._exploded()
        severity = Severity.critical if why else Severity.warning
        if self._reported.get(kind) is severity:
            return []
        self._reported[kind] = severity
        evidence: dict[str, float | int | str] = {"value": value, "start": self._level, "rows": self._streaks[kind]}
        if why:
            evidence["corroboration"] = why
        collapse = kind == "entropy-collapse"
        return [
            Anomaly(
                kind=kind,
                metric="entropy",
                severity=severity,
                onset=self._onsets[kind],
                summary=f"{value:.3g} at step {step}, "
                f"{'under a tenth of' if collapse else 'over 3 times'} its start {self._level:.3g} "
                f"since step {self._onsets[kind]}" + (f"; {why}" if why else ""),
                evidence=evidence,
                causes=("the learning rate is too high", "the reward is satisfied by one fixed answer")
                if collapse
                else (
                    "the learning rate is too high",
                    "negative advantages dominate",
                    "the entropy bonus is too large",
                ),
                remedy="lower learning_rate, raise beta (kl_coef) or the sampling temperature"
                if collapse
                else "lower learning_rate, raise beta (kl_coef), drop the entropy bonus",
            )
        ]

    def _collapsed(self) -> str:
        values = [row["entropy"] or 0.0 for _, row in self._recent]
        if max(values) < 1e-3 * self._level:
            return "sampling gives the same answer every time"
        if all(no_variance(row) for _, row in self._recent):
            return "no group of completions has reward variance"
        if self._reward() <= median(self._rewards):
            return "the reward is not above its start"
        return ""

    def _exploded(self) -> str:
        return "the reward has fallen below its start" if self._reward() < min(self._rewards) else ""

    def _reward(self) -> float:
        return median([row["reward"] or 0.0 for _, row in self._recent])


SPEC = DetectorSpec("entropy", lambda _: Entropy())
