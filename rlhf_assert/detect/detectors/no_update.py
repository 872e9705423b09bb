"""Training that does not train: no update reaches the weights, or no gradient reaches the optimizer.

Exact conditions on rows in succession; the curves themselves look calm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.detect.detectors.step_one import LN2
from rlhf_assert.recording.rows import Block

Row = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class _Rule:
    """A condition that `rows` rows in succession must meet, and what it then means."""

    kind: str
    metric: str
    rows: int
    holds: Callable[[Row], bool]
    summary: str
    causes: tuple[str, ...]
    remedy: str


class NoUpdate:
    """Reports each rule once, at its first full streak.

    - `no-update` on `learning_rate`: logged as exactly 0 for 5 rows (one row is a warm-up's first step). After rows
      with another learning rate it is a warning: the schedule ended before the training.
    - `no-update` on `kl_div`: exactly 0 for 5 rows after the first, with a gradient each time; not for KTO, which
      clamps its KL at 0, nor with beta 0. PPO logs no gradient; there both KLs stay at rounding level (1e-5 and 1e-10).
    - `no-update` on `reward_margin`: exactly 0 for 5 rows after the first, with a gradient each time.
    - `no-gradient` on `grad_norm`: exactly 0 for 3 rows in which every group of completions has variance.
    - `no-gradient` on `loss`: a preference loss at ln 2 with a gradient under 1e-5 for 10 rows.

    Args:
        algorithm: see `default_detectors`.
        config: the trainer's hyper-parameters.
    """

    name = "no-update"

    def __init__(self, algorithm: str = "", config: Mapping[str, Any] | None = None) -> None:
        self._rules = _rules(algorithm, config or {})
        self._streaks = [0] * len(self._rules)
        self._onsets = [0] * len(self._rules)
        self._first = True
        self._standing = False
        self._rate_was_positive = False

    def update(self, step: int, metrics: Row) -> list[Anomaly]:
        """Take one row."""
        get = metrics.get
        rate = get("learning_rate")
        if (
            rate != 0.0
            and get("grad_norm") != 0.0
            and get("reward_margin") != 0.0
            and not _near(get("kl_div"), 0.0, 1e-5)
            and not _near(get("loss"), LN2, 1e-5)
        ):  # nearly every row: no rule can hold
            self._move(rate)
            return []
        self._standing = True
        anomalies: list[Anomaly] = []
        for index, rule in enumerate(self._rules):
            if self._streaks[index] < 0:
                continue  # reported
            # A learning rate of 0 explains every other standstill, and is reported itself.
            if not rule.holds(metrics) or (rule.metric != "learning_rate" and (self._first or rate == 0.0)):
                self._streaks[index] = 0
                continue
            if self._streaks[index] == 0:
                self._onsets[index] = step
            self._streaks[index] += 1
            if self._streaks[index] == rule.rows:
                self._streaks[index] = -1
                anomalies.append(self._anomaly(rule, self._onsets[index]))
        self._first = False
        self._rate_was_positive = self._rate_was_positive or (rate is not None and rate > 0.0)
        return anomalies

    def absorb(self, block: Block) -> bool:
        """Take a block in which no rule can hold in any row."""
        for metric, (target, tolerance) in _STILL.items():
            values = block.metrics.get(metric)
            if values is not None and (np.abs(values - target) <= tolerance).any():
                return False
        rate = block.metrics.get("learning_rate")
        self._move(None if rate is None else float(rate.max()))
        return True

    def _move(self, rate: float | None) -> None:
        if self._standing:
            self._streaks = [min(streak, 0) for streak in self._streaks]
            self._standing = False
        self._first = False
        self._rate_was_positive = self._rate_was_positive or (rate is not None and rate > 0.0)

    def _anomaly(self, rule: _Rule, onset: int) -> Anomaly:
        ended = rule.metric == "learning_rate" and self._rate_was_positive
        return Anomaly(
            kind=rule.kind,
            metric=rule.metric,
            severity=Severity.warning if ended else Severity.critical,
            onset=onset,
            summary=f"{rule.summary}, from step {onset}",
            evidence={"rows": rule.rows},
            causes=("the schedule ends before the training does",) if ended else rule.causes,
            remedy="give the scheduler the number of steps that are trained" if ended else rule.remedy,
        )


_STILL = {
    "learning_rate": (0.0, 0.0),
    "grad_norm": (0.0, 0.0),
    "reward_margin": (0.0, 0.0),
    "kl_div": (0.0, 1e-5),
    "loss": (LN2, 1e-5),
}
"""Metric -> the value, and the distance from it, at which a rule may hold; each rule needs one of them."""


def _rules(algorithm: str, config: Mapping[str, Any]) -> list[_Rule]:
    unchanged = (
        "the learning rate is 0 or too small for the weights' precision",
        "the optimizer holds other parameters than the model",
        "gradients are dropped between backward and step",
    )
    check = "compare the weights of two checkpoints, and check that optimizer.param_groups hold the trained parameters"
    rules = [
        _Rule(
            "no-update",
            "learning_rate",
            5,
            lambda row: row.get("learning_rate") == 0.0,
            "exactly 0 for 5 rows: nothing is learnt",
            ("learning_rate=0 in the configuration", "a scheduler that was given too few steps"),
            "set learning_rate above 0, and check the scheduler's warm-up and number of steps",
        ),
        _Rule(
            "no-update",
            "reward_margin",
            5,
            lambda row: row.get("reward_margin") == 0.0 and _positive(row, "grad_norm"),
            "exactly 0 for 5 rows although there is a gradient: the weights do not change",
            unchanged,
            check,
        ),
        _Rule(
            "no-gradient",
            "grad_norm",
            3,
            lambda row: row.get("grad_norm") == 0.0 and row.get("zero_std_fraction") == 0.0 and _spread(row),
            "exactly 0 for 3 rows although every group's rewards differ: the loss does not reach the weights",
            ("the loss is detached from the model", "all parameters are frozen", "every completion is masked out"),
            "check requires_grad of the parameters, and masks such as mask_truncated_completions",
        ),
        _Rule(
            "no-gradient",
            "loss",
            10,
            lambda row: _near(row.get("loss"), LN2, 1e-5) and _near(row.get("grad_norm"), 0.0, 1e-5),
            "stuck at ln 2 without a gradient for 10 rows: the pairs do not differ",
            ("chosen and rejected are the same text", "both are cut off before they differ"),
            "look at a few tokenised pairs, and raise max_length if they are cut off",
        ),
    ]
    if algorithm != "kto" and config.get("beta") != 0:
        holds = _ppo_stands_still if algorithm == "ppo" else _kl_stands_still
        what = "0 to within rounding" if algorithm == "ppo" else "exactly 0, with a gradient,"
        rules.append(
            _Rule("no-update", "kl_div", 5, holds, f"{what} for 5 rows: the weights do not change", unchanged, check)
        )
    return rules


def _kl_stands_still(row: Row) -> bool:
    return row.get("kl_div") == 0.0 and _positive(row, "grad_norm")


def _ppo_stands_still(row: Row) -> bool:
    return _near(row.get("kl_div"), 0.0, 1e-5) and _near(row.get("approx_kl"), 0.0, 1e-10)


def _positive(row: Row, metric: str) -> bool:
    value = row.get(metric)
    return value is not None and value > 0.0


def _near(value: float | None, target: float, tolerance: float) -> bool:
    return value is not None and abs(value - target) <= tolerance


def _spread(row: Row) -> bool:
    spread, reward = row.get("reward_std"), row.get("reward")
    return spread is not None and spread > 1e-6 * max(1.0, abs(reward or 0.0))


SPEC = DetectorSpec("no-update", lambda context: NoUpdate(context.algorithm, context.config))
