"""A value loss, gradient or reward that jumps by orders of magnitude above its own past, and stays there."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.recording.rows import Block

Row = Mapping[str, float | None]

FACTOR = 50.0
HISTORY = 10
ROWS = 3
_WATCHED = {
    "value_loss": (
        Severity.critical,
        ("the value head was changed or re-initialised", "the learning rate or the reward's scale jumped"),
        "go back to a checkpoint from before this step; check value head, learning_rate and reward scale there",
    ),
    "grad_norm": (
        Severity.warning,
        ("the learning rate is too high", "one part of the loss has changed its scale"),
        "lower max_grad_norm or learning_rate, and look at the batch of this step",
    ),
    "reward": (
        Severity.warning,
        ("the reward's scale was changed", "the policy found something that the reward pays without limit"),
        "read completions from before and after this step, and bound or normalise the reward",
    ),
}


@dataclass(slots=True)
class Explosion:
    """Reports a metric above `factor` (50) times its median and 5 times its maximum so far, for 3 rows in succession.

    The past is the last 50 rows that were not such, at least 10, all positive. A value loss that grows with the reward
    takes its past along; a value head that was replaced does not. A critic that far off gives advantages that are
    noise, so it is critical; a gradient is clipped, so it is a warning, and it is judged only beside a reward or a
    KL: in supervised and preference training it rises 20 to 200 fold when learning begins. No text becomes 50 times as
    good from one step to the next, so a reward that does has another scale.
    """

    factor: float = FACTOR
    name: str = "explosion"
    _past: dict[str, deque[float]] = field(default_factory=lambda: {metric: deque(maxlen=50) for metric in _WATCHED})
    _streaks: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_WATCHED, 0))
    _onsets: dict[str, int] = field(default_factory=dict)
    _reported: set[str] = field(default_factory=set)

    def update(self, step: int, metrics: Row) -> list[Anomaly]:
        """Take one row."""
        anomalies: list[Anomaly] = []
        for metric, past in self._past.items():
            value = metrics.get(metric)
            if value is None or value - value != 0.0:
                continue
            if metric == "grad_norm" and "reward" not in metrics and "kl_div" not in metrics:
                continue
            if len(past) >= HISTORY and value > 5 * past[-1] and _beyond(past, value, self.factor):
                if self._streaks[metric] == 0:
                    self._onsets[metric] = step
                self._streaks[metric] += 1
                if self._streaks[metric] == ROWS and metric not in self._reported:
                    self._reported.add(metric)
                    anomalies.append(_anomaly(metric, self._onsets[metric], value, median(past), step))
                continue
            self._streaks[metric] = 0
            past.append(value)
        return anomalies

    def absorb(self, block: Block) -> bool:
        """Take a block in which no value is beyond 5 times those before it."""
        watched = {metric: block.metrics[metric] for metric in self._past if metric in block.metrics}
        if "reward" not in block.metrics and "kl_div" not in block.metrics:
            watched.pop("grad_norm", None)
        for metric, values in watched.items():
            before = list(self._past[metric])[-HISTORY:]
            if len(before) < HISTORY:
                return False
            greatest = sliding_window_view(np.concatenate((before, values[:-1])), HISTORY).max(axis=1)
            if (values > 5 * greatest).any():
                return False
        for metric, values in watched.items():
            self._streaks[metric] = 0
            self._past[metric].extend(values[-50:].tolist())
        return True


def _beyond(past: deque[float], value: float, factor: float) -> bool:
    return value > 5 * max(past) and value > factor * median(past) > 0


def _anomaly(metric: str, onset: int, value: float, level: float, step: int) -> Anomaly:
    severity, causes, remedy = _WATCHED[metric]
    return Anomaly(
        kind="explosion",
        metric=metric,
        severity=severity,
        onset=onset,
        summary=f"exploded at step {onset}: {value:.3g} at step {step}, {value / level:.3g} times its median",
        evidence={"value": value, "median": level, "rows": ROWS},
        causes=causes,
        remedy=remedy,
    )


SPEC = DetectorSpec("explosion", lambda context: Explosion(context.threshold or FACTOR), knob="times the median")
