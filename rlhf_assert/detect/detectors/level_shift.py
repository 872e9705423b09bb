"""A metric that leaves its own earlier level, whatever that may mean: off unless the settings turn it on."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.budget import Budget
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.detect.level import WINDOW, Level
from rlhf_assert.recording.rows import Block

Row = Mapping[str, float | None]

WATCHED: dict[str, int] = {
    "entropy": 0,
    "kl_div": 1,
    "response_length": 0,
    "value_loss": 1,
    "reward_std": 0,
    "chosen_reward": -1,
    "reward_accuracy": -1,
    "explained_variance": -1,
    "rollout_kl": 1,
}
"""Metric -> the direction in which a shift is told: down, up, or both (0)."""


@dataclass(slots=True)
class LevelShift:
    """Reports a `level-shift` of a metric as a note, since a policy that learns moves all of these metrics.

    It does not say what a shift means. Detectors that look at several metrics do, such as `reward-collapse`.
    """

    budget: Budget = field(default_factory=Budget)
    threshold: float | None = None
    name: str = "level-shift"
    levels: dict[str, Level] = field(default_factory=lambda: {metric: Level() for metric in WATCHED})
    _steps: deque[int] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def update(self, step: int, metrics: Row) -> list[Anomaly]:
        """Take one row."""
        anomalies: list[Anomaly] = []
        self._steps.append(step)
        budget = self.budget
        for metric, level in self.levels.items():
            value = metrics.get(metric)
            if value is None or value - value != 0.0:
                continue
            direction = level.update(value, budget, self.threshold)
            if direction and WATCHED[metric] in {0, direction}:
                onset = self._steps[-1 - min(level.back(), len(self._steps) - 1)]
                anomalies.append(_note(metric, onset, step, value, level, direction))
        return anomalies

    def absorb(self, block: Block) -> bool:
        """Take a block in which no level shifts."""
        levels = {}
        for metric in self.levels.keys() & block.metrics.keys():
            values, direction = block.metrics[metric], WATCHED[metric]
            if (level := self.levels[metric].after(values, self.budget, self.threshold, direction)) is None:
                return False
            levels[metric] = level
        self.levels |= levels
        self._steps.extend(block.steps[-WINDOW:].tolist())
        return True


def _note(metric: str, onset: int, step: int, value: float, level: Level, direction: int) -> Anomaly:
    score = (value - level.median) / level.spread
    return Anomaly(
        kind="level-shift",
        metric=metric,
        severity=Severity.info,
        onset=onset,
        summary=f"{'up' if direction > 0 else 'down'} from its level {level.median:.3g} since step {onset}: "
        f"{value:.3g} at step {step}",
        evidence={"value": value, "level": level.median, "spread": level.spread, "z": score},
        causes=("the policy moves, as it should", "a change of data, schedule or code at this step"),
        remedy="look whether the reward moved with it",
    )


SPEC = DetectorSpec(
    "level-shift",
    lambda context: LevelShift(context.budget, context.threshold),
    knob="spreads from the level",
    on_by_default=False,
)
