"""Detection while a training goes on: each row is looked at as it comes, and what shows becomes an event."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from rlhf_assert.detect.anomaly import Anomaly, Detector, Severity, anomaly_found
from rlhf_assert.detect.default import default_detectors
from rlhf_assert.detect.monitor import Monitor
from rlhf_assert.detect.settings import settings_of
from rlhf_assert.errors import UsageError, suggest
from rlhf_assert.recording.crash import name_error
from rlhf_assert.recording.events import (
    AlertFailed,
    EpochStatistics,
    Event,
    MetricStatistics,
    MonitorFailed,
    TrendChanged,
)

StopOn = Literal["warning", "critical"]
STOP_ON: tuple[StopOn, ...] = ("warning", "critical")


class LiveDetection:
    """The detecting half of a `LiveRecording`: anomalies, trends, and the statistics of each epoch.

    The detectors are made at the first row, because by then the training is described.

    Args:
        info: what `run.json` says of the training; it may grow until the first row.
        record: records an event.
        stop_on: see `LiveRecording`, as are the others.
        on_anomaly: called with each anomaly.
        detectors: in place of the default ones.

    Attributes:
        stop_on: the severity from which an anomaly asks to stop the training, None for never.
        epoch: the number of the epoch, 0 as long as no row told one.
    """

    def __init__(
        self,
        info: Mapping[str, Any],
        record: Callable[[Event], None],
        *,
        stop_on: StopOn | None,
        on_anomaly: Callable[[Anomaly], object] | None,
        detectors: Iterable[Detector] | None,
    ) -> None:
        self.stop_on = severity_to_stop_on(stop_on)
        self.epoch = 0
        self._info = info
        self._record = record
        self._on_anomaly = on_anomaly
        self._detectors = detectors
        self._settings = settings_of(info)
        self._monitor: Monitor | None = None
        self._failed = False
        self._switched_off: set[str] = set()

    def look(self, step: int, metrics: Mapping[str, float | None]) -> Anomaly | None:
        """Report the anomalies that a row completes, and return the worst of them if it asks to stop."""
        if self._failed:
            return None
        try:
            if self._monitor is None:
                self._monitor = Monitor(self._chosen())
            monitor = self._monitor
            anomalies = monitor.update(step, metrics)
            events = [anomaly_found(step, anomaly) for anomaly in anomalies] if anomalies else []
        except Exception as error:  # noqa: BLE001 - a faulty detector must not cost anybody a training
            self._monitor, self._failed = None, True
            self._record(MonitorFailed(step=step, error=name_error(error)))
            return None
        if monitor.failed_detectors:
            for name in monitor.failed_detectors.keys() - self._switched_off:
                self._switched_off.add(name)
                self._record(MonitorFailed(step=step, detector=name, error=monitor.failed_detectors[name]))
        for metric, trend in monitor.changed.items():
            self._record(TrendChanged(step=step, metric=metric, trend=trend))
        worst = None
        for anomaly, event in zip(anomalies, events, strict=True):
            self._record(event)
            self._alert(step, anomaly)
            if worst is None or anomaly.severity > worst.severity:
                worst = anomaly
        return worst if worst is not None and self.stop_on is not None and worst.severity >= self.stop_on else None

    def turn(self, step: int, epoch: float) -> None:
        """End the epoch before, if a row is the first of another."""
        number = math.ceil(epoch - 1e-6) if math.isfinite(epoch) else self.epoch
        if number > self.epoch:
            self.end_epoch(step)
            self.epoch = number

    def end_epoch(self, step: int) -> None:
        """Record the statistics of the rows since the last call, if there were any."""
        statistics = {} if self._monitor is None else self._monitor.end_epoch()
        if statistics:
            metrics = {
                name: MetricStatistics(mean=its.mean, std=its.std, min=its.min, max=its.max, trend=its.trend)
                for name, its in statistics.items()
            }
            self._record(EpochStatistics(step=step, epoch=max(self.epoch, 1), metrics=metrics))

    def _chosen(self) -> Iterable[Detector]:
        if self._detectors is not None:
            return self._detectors
        algorithm = str(self._info.get("algorithm") or "")
        return default_detectors(algorithm, self._info.get("config"), settings=self._settings)

    def _alert(self, step: int, anomaly: Anomaly) -> None:
        if self._on_anomaly is None:
            return
        try:
            self._on_anomaly(anomaly)
        except Exception as error:  # noqa: BLE001 - a broken alert must not cost anybody a training
            self._record(AlertFailed(step=step, error=name_error(error)))


def severity_to_stop_on(stop_on: str | None) -> Severity | None:
    """Return the severity of its name.

    Raises:
        UsageError: no training can be stopped at it.
    """
    if stop_on is None:
        return None
    if stop_on not in STOP_ON:
        raise UsageError(f"stop_on={stop_on!r}{suggest(str(stop_on), STOP_ON)}: give 'warning', 'critical' or None")
    return Severity[stop_on]
