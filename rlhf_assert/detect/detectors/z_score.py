"""Spikes of one step: single values far outside a metric's own recent past, by their z-score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.detect.outlier import NOTE, SAME, Window, outlier_in
from rlhf_assert.errors import UsageError
from rlhf_assert.recording.rows import Block

THRESHOLD = 20.0
"""Standard deviations from which a value counts. Far above the usual 3 to 6, which alarm on the tails of healthy
training curves; the alarms that it leaves on heavy-tailed noise are in tests/calibration/false_alarms.json."""

UNTESTED = frozenset(
    {
        "learning_rate",  # follows its schedule
        "clip_ratio",  # zero but for rare events, each of which would be a spike
        "truncated_fraction",
        "zero_std_fraction",
        "step_time",  # the machine's, not the training's
        "tokens_per_second",
        "vllm_latency",
        "vllm_throughput",
        "ray_actor_utilization",
        "kl_policy_ratio",  # a quotient has no moments where its denominator passes zero
        "value_policy_ratio",
        "advantage_reward_ratio",
        "advantage",  # centred on zero by construction
    }
)
"""Metrics whose healthy values do spike; they are tested only if `thresholds` names them."""

_FAMILIES = {
    **dict.fromkeys(("loss", "policy_loss", "kl_div", "approx_kl", "ratio", "grad_norm"), "update"),
    **dict.fromkeys(("reward", "reward_std", "advantage_std"), "reward"),
    **dict.fromkeys(("chosen_reward", "rejected_reward", "reward_margin"), "reward"),
}
"""Metrics that one batch moves together by construction (a KL penalty is part of the loss): one witness, not two."""


class ZScore:
    """Compares each value with the mean and standard deviation of the values before it, itself excluded.

    (A window that includes the tested point caps |z| at (n - 1)/sqrt(n).) A metric is tested from its 21st finite
    value on, and not while its window is constant but for rounding, or holds one value more than half of the time:
    such a window has no scale. One step is at most a warning, since healthy runs spike and recover; after a report the
    metric is quiet for as many steps as the window holds, but for a value twice as far out.

    A value alone is an info: tails as heavy as those of healthy runs reach any threshold in the end. It is a warning
    where a metric of another family spikes in the same row, at the threshold too, or where the user set the threshold.

    Args:
        threshold: standard deviations from which a value counts.
        window: how many values before the tested one count.
        thresholds: threshold by metric; infinity turns a metric off.

    Raises:
        UsageError: a threshold that is not above 0, or a window shorter than the 20 rows that a test needs.
    """

    name = "z-score"
    minimum_history = 20

    def __init__(
        self, threshold: float = THRESHOLD, window: int = 50, thresholds: Mapping[str, float] | None = None
    ) -> None:
        if window < self.minimum_history:
            raise UsageError(f"window={window}, but a z-score needs at least {self.minimum_history} values")
        self._thresholds = dict.fromkeys(UNTESTED, math.inf) | dict(thresholds or {})
        self._asked = frozenset(thresholds or {})
        for metric, limit in {"anomaly_threshold": threshold, **self._thresholds}.items():
            if not limit > 0:
                raise UsageError(f"{metric}: a z-score threshold of {limit}, but it must be above 0")
        self._threshold = threshold
        self._default = threshold == THRESHOLD
        self._size = window
        self._core = window // 2
        self._windows: dict[str, Window | None] = {}
        self._tested: list[tuple[str, Window]] = []
        self._bounds: list[tuple[str, float, float]] = []
        self._waiting: list[Mapping[str, float | None]] = []
        self._due = 0

    def update(self, step: int, metrics: Mapping[str, float | None]) -> list[Anomaly]:
        """Take one row; non-finite values are neither tested nor remembered.

        Nearly every value lies within its bounds, so the windows take their values some rows at a time.
        """
        if not self._windows.keys() >= metrics.keys():
            for metric in metrics:
                if metric not in self._windows:
                    self._open(metric)
            self._tested = [(metric, window) for metric, window in self._windows.items() if window is not None]
            self._settle()
        anomalies: list[Anomaly] = []
        get = metrics.get
        beyond = [
            metric
            for metric, low, high in self._bounds
            if (value := get(metric)) is not None and not low <= value <= high
        ]
        if beyond:
            self._fold()
            for metric in beyond:
                value, window = metrics[metric], self._windows[metric]
                if value is not None and value - value == 0.0 and window is not None:
                    anomalies += window.test(step, metric, value)
        self._waiting.append(metrics)
        self._due -= 1
        if self._due <= 0:
            self._settle()
        return self._weigh(anomalies) if anomalies else anomalies

    def absorb(self, block: Block) -> bool:
        """Take a block in which no value is reported."""
        self._fold()
        windows = {metric: window for metric, window in self._tested if metric in block.metrics}
        if not windows:
            return True
        core, parts = self._core, -(-len(block) // self._core)
        reaches = [window.reach(core) for window in windows.values()]
        if None in reaches or any(len(window.values) < self._size for window in windows.values()):
            return False
        known = np.array([window.values for window in windows.values()])
        values = np.concatenate((known, [block.metrics[metric] for metric in windows]), axis=1)
        # Each part of the block has the part before it for its core, as in `Window.bounds`.
        cores = values[:, self._size - core :][:, : parts * core].reshape(len(windows), parts, core)
        middle = cores.mean(axis=2, keepdims=True)
        squares = ((cores - middle) ** 2).sum(axis=2, keepdims=True)
        reach = np.array(reaches, dtype=np.float64)[:, None, None] * np.sqrt(squares)
        tested = np.zeros((len(windows), parts * core))
        tested[:, : len(block)] = values[:, self._size :]
        inside = np.abs(tested.reshape(cores.shape) - middle) <= np.maximum(reach, SAME * np.abs(middle))
        thresholds = [window.threshold for window in windows.values()]
        for place, row in np.argwhere(~inside.reshape(tested.shape)[:, : len(block)]).tolist():
            before = values[place, row : row + self._size].tolist()
            if outlier_in(before, float(tested[place, row]), thresholds[place]) is not None:
                return False
        for window, latest in zip(windows.values(), values[:, -self._size :].tolist(), strict=True):
            window.values.extend(latest)
        self._settle()
        return True

    def _fold(self) -> None:
        """Give the windows the values of the rows that wait."""
        rows = self._waiting
        if not rows:
            return
        for metric, window in self._tested:
            window.values.extend(
                [value for row in rows if (value := row.get(metric)) is not None and value - value == 0.0]
            )
        rows.clear()

    def _settle(self) -> None:
        """Set all bounds anew, and count the rows until they may not hold, or another metric has enough values."""
        self._fold()
        self._due = self._size - self._core
        self._bounds = []
        for metric, window in self._tested:
            missing = self.minimum_history - len(window.values)
            if missing > 0:
                self._due = min(self._due, missing)
            else:
                self._bounds.append((metric, *window.bounds(self._core)))

    def _weigh(self, anomalies: list[Anomaly]) -> list[Anomaly]:
        """Return the anomalies of one row; those that nothing corroborates and nobody asked for are infos."""
        far = {anomaly.metric for anomaly in anomalies if abs(float(anomaly.evidence["z"])) >= self._threshold}
        witnesses = {_FAMILIES.get(metric, metric) for metric in far}
        return [
            anomaly
            if anomaly.metric in self._asked or (anomaly.metric in far and (len(witnesses) > 1 or not self._default))
            else replace(anomaly, severity=Severity.info)
            for anomaly in anomalies
        ]

    def _open(self, metric: str) -> None:
        threshold = self._thresholds.get(metric, self._threshold)
        if self._default and metric not in self._asked and threshold < math.inf:
            threshold = NOTE
        self._windows[metric] = None if threshold == math.inf else Window(self._size, threshold)


SPEC = DetectorSpec(
    "z-score", lambda context: ZScore(context.anomaly_threshold or THRESHOLD, thresholds=context.metric_thresholds)
)
