"""Metrics that should change with every batch, and keep exactly the same value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.detect.streaks import streaks
from rlhf_assert.recording.rows import Block

Row = Mapping[str, float | None]

FREEZABLE = ("loss", "policy_loss", "value_loss", "grad_norm", "entropy", "kl_div")


@dataclass(slots=True)
class Frozen:
    """Reports a metric that each row computes from new samples, and that has the same value in 20 rows.

    A value of 0 does not count: a GRPO loss printed as 0.0000 is healthy, and other detectors judge other zeros.
    """

    name: str = "frozen"
    _since: dict[str, tuple[float, int, int]] = field(default_factory=dict)  # metric -> value, first step, rows

    def update(self, step: int, metrics: Row) -> list[Anomaly]:
        """Take one row."""
        anomalies: list[Anomaly] = []
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
                anomalies.append(_frozen(metric, value, since[1]))
        return anomalies

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


SPEC = DetectorSpec("frozen", lambda _: Frozen())
