"""Updates that leave PPO's trust region: the policy moves further from the one that sampled than clipping allows."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.recording.rows import Block

Row = Mapping[str, float | None]

DISTANCE = 0.1
"""Nats of `approx_kl` (half the mean square of the log-ratio): a typical ratio of exp(.45) = 1.6, three times the clip
range of .2. Recipes stop early at .01 to .02."""
CLIPPED = 0.3
"""Share of tokens whose gradient the clip cuts: healthy runs show up to .2."""
WINDOW = 10
ROWS = {"approx_kl": 5, "clip_ratio": 5}


@dataclass(slots=True)
class TrustRegion:
    """Reports `trust-region-left`, a warning, once per metric.

    That is, among the last 10 rows, `approx_kl` above .1 in 5, or `clip_ratio` above .3 in 5: healthy runs leave it in
    one update of a few. A bound of scale rather than a statistic, so it needs no past: what the surrogate loss promises
    holds near a ratio of 1 only.

    Sources: Schulman et al., "Proximal Policy Optimization" (2017), 3; Engstrom et al., "Implementation Matters in Deep
    Policy Gradients" (2020).
    """

    distance: float = DISTANCE
    name: str = "trust-region"
    _windows: dict[str, deque[int]] = field(default_factory=dict)
    _reported: set[str] = field(default_factory=set)
    _count: int = 0

    def update(self, step: int, metrics: Row) -> list[Anomaly]:
        """Take one row."""
        self._count += 1
        anomalies: list[Anomaly] = []
        for metric, limit in (("approx_kl", self.distance), ("clip_ratio", CLIPPED)):
            value = metrics.get(metric)
            if value is None or not limit < value < math.inf or metric in self._reported:
                continue
            window = self._windows.setdefault(metric, deque(maxlen=ROWS[metric]))
            window.append(self._count)
            if len(window) == ROWS[metric] and self._count - window[0] < WINDOW:
                self._reported.add(metric)
                anomalies.append(_anomaly(step, metric, value, limit))
        return anomalies

    def absorb(self, block: Block) -> bool:
        """Take a block in which no metric passes its limit."""
        for metric, limit in (("approx_kl", self.distance), ("clip_ratio", CLIPPED)):
            values = block.metrics.get(metric)
            if values is not None and metric not in self._reported and values.max() > limit:
                return False
        self._count += len(block)
        return True


def _anomaly(step: int, metric: str, value: float, limit: float) -> Anomaly:
    return Anomaly(
        kind="trust-region-left",
        metric=metric,
        severity=Severity.warning,
        onset=step,
        summary=f"{value:.3g} at step {step}, above {limit} in {ROWS[metric]} of {WINDOW} rows: updates are too large",
        evidence={"value": value, "limit": limit, "rows": ROWS[metric]},
        causes=(
            "the learning rate is too high",
            "too many epochs or mini-batches on the same samples",
            "sampling and training disagree (temperature, dropout, precision)",
        ),
        remedy="lower learning_rate or num_ppo_epochs (num_iterations)",
    )


SPEC = DetectorSpec(
    "trust-region", lambda context: TrustRegion(context.threshold or DISTANCE), knob="limit of approx_kl in nats"
)
