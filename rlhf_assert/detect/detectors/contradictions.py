"""Metrics outside what they can be, or contradicting one another: it is the logging or the loss that is wrong."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.detect.streaks import streaks
from rlhf_assert.recording.rows import Block

Row = Mapping[str, float | None]

_SHARES = ("reward_accuracy", "truncated_fraction", "zero_std_fraction")
_NEVER_NEGATIVE = ("reward_std", "advantage_std", "grad_norm", "value_loss", "response_length", "learning_rate")
ROUNDING = 1e-6
GROUP_LOSS = 5.0
"""A GRPO loss is a mean of advantages that have standard deviation 1 in each group of G: at most sqrt(G - 1) in size,
5 for groups of 26 of which one was lucky, and 0 on average."""
GROUP_ROWS = 10


@dataclass(slots=True)
class Contradictions:
    """Reports, once per metric, values that arithmetic rules out. Healthy runs never have them.

    - `out-of-range`, a warning: a share (accuracy, truncation, groups without variance) outside 0..1, or a standard
      deviation, norm, length, learning rate or squared error below 0. A share above 1 may be in per cent: an info.
    - `contradiction`, a warning: margins that are not chosen less rejected reward, by 5 % of their size, for 5 rows.
    - `advantage-scale`, a warning: a GRPO-like loss above 5 in size in the median of 10 rows. Its advantages are not of
      unit size, so the gradient follows the rewards' scale, and clipping makes every step the same.
    """

    algorithm: str = ""
    name: str = "contradictions"
    _reported: set[str] = field(default_factory=set)
    _losses: deque[float] = field(default_factory=lambda: deque(maxlen=GROUP_ROWS))
    _differ: int = 0

    def update(self, step: int, metrics: Row) -> list[Anomaly]:
        """Take one row."""
        anomalies: list[Anomaly] = []
        get = metrics.get
        for metric in _SHARES:
            value = get(metric)
            if value is not None and not -ROUNDING <= value <= 1.0 + ROUNDING and value - value == 0.0:
                anomalies += self._out_of_range(step, metric, value, "a share lies between 0 and 1")
        for metric in _NEVER_NEGATIVE:
            value = get(metric)
            if value is not None and value < -ROUNDING and value - value == 0.0:
                anomalies += self._out_of_range(step, metric, value, "it cannot be negative")
        margin = get("reward_margin")
        if margin is not None:
            anomalies += self._margin(step, metrics, margin)
        loss = get("loss")
        if loss is not None and not -GROUP_LOSS <= loss <= GROUP_LOSS:
            anomalies += self._group_loss(step, metrics, loss)
        elif self._losses:
            self._losses.append(loss or 0.0)
        return anomalies

    def absorb(self, block: Block) -> bool:
        """Take a block in which everything new is within its range."""
        for metric in (*_SHARES, *_NEVER_NEGATIVE):
            values = block.metrics.get(metric)
            if values is None or metric in self._reported:
                continue
            if values.min() < -ROUNDING or (metric in _SHARES and values.max() > 1.0 + ROUNDING):
                return False
        loss = block.metrics.get("loss")
        if loss is not None and np.abs(loss).max() > GROUP_LOSS and (self._losses or self._scaled(block.metrics)):
            return False
        margin, chosen, rejected = map(block.metrics.get, ("reward_margin", "chosen_reward", "rejected_reward"))
        if margin is not None and chosen is not None and rejected is not None:
            size = np.maximum(np.maximum(np.abs(chosen), np.abs(rejected)), np.abs(margin))
            longest, last = streaks(np.abs(chosen - rejected - margin) > 0.05 * size + 1e-3, self._differ)
            if longest >= 5 and "reward_margin" not in self._reported:
                return False
            self._differ = last
        if self._losses:
            self._losses.extend([0.0] * len(block) if loss is None else loss[-GROUP_ROWS:].tolist())
        return True

    def _scaled(self, metrics: Mapping[str, object]) -> bool:
        """Return whether the loss is a mean of advantages of unit size, whose scale is still to be judged."""
        grouped = self.algorithm == "grpo" or (not self.algorithm and metrics.get("reward_std") is not None)
        return grouped and metrics.get("value_loss") is None and "loss" not in self._reported

    def _out_of_range(self, step: int, metric: str, value: float, why: str) -> list[Anomaly]:
        if metric in self._reported:
            return []
        self._reported.add(metric)
        anomaly = _anomaly("out-of-range", metric, step, f"{value:.4g} at step {step}: {why}", {"value": value})
        return [replace(anomaly, severity=Severity.info) if metric in _SHARES and 1.0 < value <= 100.0 else anomaly]

    def _margin(self, step: int, metrics: Row, margin: float) -> list[Anomaly]:
        chosen, rejected = metrics.get("chosen_reward"), metrics.get("rejected_reward")
        if chosen is None or rejected is None or margin - margin != 0.0:
            return []
        size = max(abs(chosen), abs(rejected), abs(margin))
        self._differ = self._differ + 1 if abs(chosen - rejected - margin) > 0.05 * size + 1e-3 else 0
        if self._differ != 5 or "reward_margin" in self._reported:
            return []
        self._reported.add("reward_margin")
        text = f"{margin:.4g} at step {step}, but chosen less rejected reward is {chosen - rejected:.4g}"
        evidence = {"value": margin, "expected": chosen - rejected}
        return [_anomaly("contradiction", "reward_margin", step, text, evidence)]

    def _group_loss(self, step: int, metrics: Row, loss: float) -> list[Anomaly]:
        if not self._scaled(metrics) or loss - loss != 0.0:
            return []
        self._losses.append(loss)
        size = median([abs(value) for value in self._losses])
        if len(self._losses) < GROUP_ROWS or size <= GROUP_LOSS:
            return []
        spread = metrics.get("reward_std")
        distance = metrics.get("kl_div")
        if spread is None or spread < size or (distance is not None and distance > size):
            return []  # a loss that the rewards' spread does not explain, but a KL penalty might
        self._reported.add("loss")
        text = f"{size:.3g} in size over {GROUP_ROWS} rows to step {step}: advantages are not of unit size"
        evidence = {"value": size, "limit": GROUP_LOSS, "reward_std": spread}
        return [_anomaly("advantage-scale", "loss", step, text, evidence)]


def _anomaly(kind: str, metric: str, step: int, summary: str, evidence: Mapping[str, float | int | str]) -> Anomaly:
    scale = kind == "advantage-scale"
    return Anomaly(
        kind=kind,
        metric=metric,
        severity=Severity.warning,
        onset=step,
        summary=summary,
        evidence=evidence,
        causes=("rewards of a large scale, with scale_rewards off",)
        if scale
        else ("the metric is averaged over the wrong number of samples", "another quantity is logged under this name"),
        remedy="normalise the reward, or turn scale_rewards on"
        if scale
        else "recompute the metric for one batch by hand",
    )


SPEC = DetectorSpec("contradictions", lambda context: Contradictions(context.algorithm))
