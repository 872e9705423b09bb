"""Single values far outside a metric's own recent past: the z-score, for one-step spikes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from statistics import median

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.errors import UsageError

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
        "kl_policy_ratio",  # a quotient has no moments where its denominator passes zero
        "value_policy_ratio",
        "advantage_reward_ratio",
        "advantage",  # centred on zero by construction
    }
)
"""Metrics whose healthy values do spike; they are tested only if `thresholds` names them."""

NOTE = 5.5
"""Standard deviations from which a value is worth a note, if it also is 1.5 times as far out as any of its window."""

_FAMILIES = {
    **dict.fromkeys(("loss", "policy_loss", "kl_div", "approx_kl", "ratio", "grad_norm"), "update"),
    **dict.fromkeys(("reward", "reward_std", "advantage_std"), "reward"),
    **dict.fromkeys(("chosen_reward", "rejected_reward", "reward_margin"), "reward"),
}
"""Metrics that one batch moves together by construction (a KL penalty is part of the loss): one witness, not two."""

_REST = 25
_ROUNDING = 1e-6  # a spread below this share of the level is float32 rounding, not spread


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
        self._windows: dict[str, _Window | None] = {}
        self._tested: list[tuple[str, _Window]] = []
        self._bounds: list[tuple[str, float, float]] = []
        self._waiting: list[Mapping[str, float | None]] = []
        self._due = 0

    def update(self, step: int, metrics: Mapping[str, float | None]) -> list[Anomaly]:
        """Take one row; non-finite values are neither tested nor remembered.

        Nearly every value lies within its bounds, so the windows take their values some rows at a time.
        """
        if not self._windows.keys() >= metrics.keys():
            self._fold()
            for metric in metrics:
                if metric not in self._windows:
                    self._open(metric)
            self._tested = [(metric, window) for metric, window in self._windows.items() if window is not None]
            self._plan()
        found: list[Anomaly] = []
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
                    found += window.test(step, metric, value)
            self._plan()
        self._waiting.append(metrics)
        self._due -= 1
        if self._due <= 0:
            self._fold()
            for _, window in self._tested:
                if window.high < math.inf:  # all that are in use at once, so that rows in which none is due are many
                    window.settle()
            self._plan()
        return self._weigh(found) if found else found

    def _fold(self) -> None:
        """Give the windows the values of the rows that wait, and compute the moments that are due."""
        for metrics in self._waiting:
            for metric, window in self._tested:
                value = metrics.get(metric)
                if value is None or value - value != 0.0:
                    continue
                window.values.append(value)
                window.rest -= 1
                if window.rest == 0:
                    window.settle()
        self._waiting.clear()

    def _plan(self) -> None:
        """Take over the windows' bounds, and count the rows until the first of them is due."""
        self._bounds = [(metric, window.low, window.high) for metric, window in self._tested]
        self._due = min((window.rest for _, window in self._tested), default=_REST)

    def _weigh(self, found: list[Anomaly]) -> list[Anomaly]:
        """Return the anomalies of one row; those that nothing corroborates and nobody asked for are infos."""
        far = {anomaly.metric for anomaly in found if abs(float(anomaly.evidence["z"])) >= self._threshold}
        witnesses = {_FAMILIES.get(metric, metric) for metric in far}
        return [
            anomaly
            if anomaly.metric in self._asked or (anomaly.metric in far and (len(witnesses) > 1 or not self._default))
            else replace(anomaly, severity=Severity.info)
            for anomaly in found
        ]

    def _open(self, metric: str) -> None:
        threshold = self._thresholds.get(metric, self._threshold)
        if self._default and metric not in self._asked and threshold < math.inf:
            threshold = NOTE
        window = None if threshold == math.inf else _Window(self._size, threshold, self.minimum_history)
        self._windows[metric] = window


class _Window:
    """The last values of one metric.

    Most values are far from any threshold, and computing moments for each would cost more than all else. So a value
    within half the threshold of moments that are at most `_REST` rows old passes; any other is tested exactly.
    """

    __slots__ = ("high", "loudest", "low", "mean", "quiet_until", "rest", "spread", "threshold", "values")

    def __init__(self, size: int, threshold: float, minimum: int) -> None:
        self.values: deque[float] = deque(maxlen=size)
        self.low, self.high = -math.inf, math.inf
        self.mean = self.spread = 0.0
        self.rest = minimum
        self.threshold = threshold
        self.quiet_until = -math.inf
        self.loudest = 0.0

    def settle(self) -> None:
        """Compute the moments from the values."""
        values, count = self.values, len(self.values)
        total = sum(values)
        # The sum of values near the largest float overflows, their mean does not.
        self.mean = mean = total / count if total - total == 0.0 else sum([value / count for value in values])
        off = [value - mean for value in values]
        self.spread = math.sqrt(sum([value * value for value in off]) / (count - 1))
        reach = 0.5 * self.threshold * self.spread
        self.low, self.high = mean - reach, mean + reach
        self.rest = _REST
        far = 4.0 * self.spread
        if max(values) - mean > far or mean - min(values) > far:  # when an outlier leaves, its spread must not stay
            oldest = next(place for place, value in enumerate(values) if abs(value - mean) > far)
            self.rest = min(_REST, (values.maxlen or 0) - count + oldest + 1)

    def test(self, step: int, metric: str, value: float) -> list[Anomaly]:
        """Judge a value by the exact moments of the values before it."""
        self.settle()
        count, level = len(self.values), median(self.values)
        if not _ROUNDING * abs(self.mean) < self.spread < math.inf or 2 * self.values.count(level) > count:
            return []
        score = (value - self.mean) / self.spread
        if abs(score) <= self.threshold or (step < self.quiet_until and abs(score) < 2.0 * self.loudest):
            return []
        if self.threshold == NOTE and abs(value - level) < 1.5 * max(abs(other - level) for other in self.values):
            return []
        self.quiet_until = step + (self.values.maxlen or 0)
        self.loudest = abs(score)
        return [
            Anomaly(
                kind="z-score",
                metric=metric,
                severity=Severity.warning,
                onset=step,
                summary=f"{value:.3g} at step {step}, {abs(score):.0f} standard deviations "
                f"{'above' if score > 0 else 'below'} the {count} values before",
                evidence={
                    "value": value,
                    "z": score,
                    "mean": self.mean,
                    "std": self.spread,
                    "window": count,
                    "times_median": value / level if level else math.inf,
                },
                causes=("one unusual batch", "the beginning of something that other metrics will show"),
                remedy="look at this step's samples; if other metrics stay calm, accept it, or raise anomaly_threshold "
                f"for {metric}",
            )
        ]
