"""Rewards that do not differ: the policy gradient is then 0, and the policy cannot learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.detect.reward_variance import no_variance, rows_without_variance
from rlhf_assert.detect.streaks import streaks
from rlhf_assert.recording.rows import Block

Row = Mapping[str, float | None]


@dataclass(slots=True)
class NoVariance:
    """Reports rewards that do not differ within any group of completions.

    - `no-learning-signal`: so it was from the first row on. A warning after 10 rows. Critical after 20 rows, or after
      10 if the gradient was exactly 0 in all of them.
    - `saturated`: the rewards differed before. A warning after 20 rows: the task is solved or the reward is hacked, and
      either way the policy learns no more.
    """

    name: str = "no-variance"
    _streak: int = 0
    _rows: int = 0
    _onset: int = 0
    _still: bool = True
    _reward: float | None = None
    _saturated: bool = False

    def update(self, step: int, metrics: Row) -> list[Anomaly]:
        """Take one row; rows that tell nothing about the reward's variance are passed over."""
        reward = metrics.get("reward")
        dead = no_variance(metrics, self._reward)
        if reward is not None:
            if self._rows == 0 and dead is None:  # the first reward of a log without spread
                self._onset, self._rows, self._streak = step, 1, 1
            self._reward = reward
        if dead is None:
            return []
        self._rows += 1
        if not dead:
            self._streak = 0
            return []
        if self._streak == 0:
            self._onset, self._still = step, True
        self._streak += 1
        self._still = self._still and metrics.get("grad_norm") == 0.0
        if self._streak == self._rows:
            return self._never(step)
        if self._streak == 20 and not self._saturated:
            self._saturated = True
            return [self._saturation()]
        return []

    def absorb(self, block: Block) -> bool:
        """Take a block in which no streak of rows without variance grows to what is reported."""
        reward, gradient = block.metrics.get("reward"), block.metrics.get("grad_norm")
        dead = rows_without_variance(block, self._reward)
        if dead is None:
            return reward is None
        longest, last = streaks(dead, self._streak)
        if self._streak == self._rows or (longest >= 20 and not self._saturated):
            return False
        if 0 < last <= len(block):
            self._onset, self._still = int(block.steps[-last]), True
        if last:
            self._still = self._still and gradient is not None and bool((gradient[-last:] == 0.0).all())
        self._streak = last
        self._rows += len(block)
        if reward is not None:
            self._reward = float(reward[-1])
        return True

    def _never(self, step: int) -> list[Anomaly]:
        if self._streak not in {10, 20}:
            return []
        critical = self._streak == 20 or self._still
        if self._streak == 20 and self._still:
            return []  # reported at row 10
        return [
            Anomaly(
                kind="no-learning-signal",
                metric="reward",
                severity=Severity.critical if critical else Severity.warning,
                onset=self._onset,
                summary=f"constant within every group from the first row to step {step}: nothing to learn from",
                evidence={"rows": self._streak, "value": self._reward or 0.0},
                causes=(
                    "the reward function returns the same value whatever the completion",
                    "every completion fails in the same way (cut off, unparsable, too hard)",
                ),
                remedy="score a few different completions by hand: the reward must tell them apart",
            )
        ]

    def _saturation(self) -> Anomaly:
        return Anomaly(
            kind="saturated",
            metric="reward",
            severity=Severity.warning,
            onset=self._onset,
            summary=f"without variance in any group from step {self._onset} on: no gradient is left",
            evidence={"rows": self._streak, "value": self._reward or 0.0},
            causes=("the task is solved: stop here", "the reward is hacked, or the policy has collapsed to one answer"),
            remedy="read completions from this step: if good, the training is done; if not, mend the reward",
        )


SPEC = DetectorSpec("no-variance", lambda _: NoVariance())
