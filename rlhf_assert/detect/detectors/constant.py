"""Rewards without variance, from which nothing can be learnt, and metrics that stand exactly still."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.streaks import streaks
from rlhf_assert.recording.rows import Block

Row = Mapping[str, float | None]


def no_variance(row: Row, previous_reward: float | None = None) -> bool | None:
    """Return whether no group of completions has reward variance in this row; None where the row does not tell.

    Args:
        row: canonical metrics.
        previous_reward: reward of the row before; judges, by exact equality, rows that log no spread (PPO).
    """
    share, spread, reward = row.get("zero_std_fraction"), row.get("reward_std"), row.get("reward")
    if share is not None and share >= 0.999:
        return True
    if spread is not None:  # a saturated reward keeps a spread of rounding, 2.5e-7, and a share of 0
        return spread <= 1e-6 * max(1.0, abs(reward or 0.0))
    if share is not None:
        return False
    return None if reward is None or previous_reward is None else reward == previous_reward


def rows_without_variance(block: Block, previous_reward: float | None = None) -> NDArray[np.bool_] | None:
    """Return `no_variance` of each row of a block, shape (n,); None where the rows do not tell."""
    share, spread, reward = (block.metrics.get(name) for name in ("zero_std_fraction", "reward_std", "reward"))
    if spread is not None:
        size = 1.0 if reward is None else np.maximum(1.0, np.abs(reward))
        without = spread <= 1e-6 * size
        return without if share is None else without | (share >= 0.999)
    if share is not None:
        return share >= 0.999
    if reward is None or previous_reward is None:
        return None
    same: NDArray[np.bool_] = reward == np.concatenate(([previous_reward], reward[:-1]))
    return same


@dataclass(slots=True)
class NoVariance:
    """Reports rewards that do not differ, so that advantages and the policy gradient are 0.

    From the first row on, and never otherwise (`no-learning-signal`): after 10 rows a warning, after 20, or after 10
    with a gradient of exactly 0 throughout, critical. After rows with variance (`saturated`): after 20 rows a warning;
    whether the reward is solved or hacked, it teaches no more.
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


FREEZABLE = ("loss", "policy_loss", "value_loss", "grad_norm", "entropy", "kl_div")


@dataclass(slots=True)
class Frozen:
    """Reports a metric that is computed from new samples at each row and yet stays at one non-zero value for 20 rows.

    Zeros are left out: a GRPO loss printed as 0.0000 is healthy, and other detectors judge what a zero can mean.
    """

    name: str = "frozen"
    _since: dict[str, tuple[float, int, int]] = field(default_factory=dict)  # metric -> value, first step, rows

    def update(self, step: int, metrics: Row) -> list[Anomaly]:
        """Take one row."""
        found: list[Anomaly] = []
        known = self._since
        for metric in FREEZABLE:
            value = metrics.get(metric)
            if value is None:
                continue
            since = known.get(metric)
            if since is None or value != since[0]:
                known[metric] = value, step, 1
                continue
            rows = since[2] + 1
            known[metric] = value, since[1], rows
            if rows == 20 and value != 0.0:
                found.append(_frozen(metric, value, since[1]))
        return found

    def absorb(self, block: Block) -> bool:
        """Take a block in which no metric but a zero stands still for 20 rows."""
        known: dict[str, tuple[float, int, int]] = {}
        for metric in FREEZABLE:
            values = block.metrics.get(metric)
            if values is None:
                continue
            value, since, rows = self._since.get(metric, (math.nan, 0, 1))
            same = values == np.concatenate(([value], values[:-1]))
            longest, last = streaks(same, rows - 1)
            if longest >= 19 and values[same].any():
                return False
            onset = int(block.steps[-last - 1]) if last < len(block) else since
            known[metric] = float(values[-1]), onset, last + 1
        self._since |= known
        return True


def _frozen(metric: str, value: float, onset: int) -> Anomaly:
    return Anomaly(
        kind="frozen",
        metric=metric,
        severity=Severity.warning,
        onset=onset,
        summary=f"exactly {value:.6g} in 20 rows from step {onset}",
        evidence={"value": value, "rows": 20},
        causes=("the same batch at every step", "a stale value is logged", "nothing is learnt"),
        remedy="check that each step sees a new batch and that the metric is computed from it",
    )
