"""Events of what watches a training: what it found, and what it could not do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rlhf_assert.recording.events.event import Event, event


@event("anomaly")
class AnomalyFound(Event):
    """A detector found an anomaly; see the [detectors](detectors.md).

    Attributes:
        kind: the phenomenon, for example `non-finite`.
        metric: canonical name of the metric that shows it.
        severity: `info`, `warning` or `critical`.
        onset: the first step that shows it.
        summary: one clause about it.
        evidence: the numbers behind it, by name.
        causes: likely causes, the likeliest first.
        remedy: what to try.
        detector: name of the detector; absent in runs of versions before it was recorded.
    """

    kind: str
    metric: str
    severity: str
    onset: int
    summary: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    causes: tuple[str, ...] = ()
    remedy: str = ""
    detector: str | None = None


@event("trend")
class TrendChanged(Event):
    """The trend of a metric changed.

    Attributes:
        metric: its canonical name.
        trend: `increasing`, `decreasing` or `stable`.
    """

    metric: str
    trend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricStatistics:
    """One metric over an epoch.

    Attributes:
        mean: mean of its values.
        std: their standard deviation.
        min: the lowest.
        max: the highest.
        trend: `increasing`, `decreasing` or `stable` at the end of the epoch.
    """

    mean: float | None = None
    std: float | None = None
    min: float | None = None
    max: float | None = None
    trend: str | None = None


@event("epoch_statistics")
class EpochStatistics(Event):
    """An epoch has ended; what its metrics were.

    Attributes:
        epoch: number of the epoch, from 1 on.
        metrics: the statistics of each metric, by its canonical name.
    """

    epoch: int
    metrics: Mapping[str, MetricStatistics]


@event("stop")
class Stop(Event):
    """The monitor stopped the training.

    Attributes:
        reason: the anomaly for which it did.
    """

    reason: str


@event("monitor_failed")
class MonitorFailed(Event):
    """A detector failed and was switched off; the training and the other detectors went on.

    Attributes:
        error: type and message of the exception, or what was malformed in what it reported.
        detector: name of the detector; absent if all detection ended.
    """

    error: str
    detector: str | None = None


@event("alert_failed")
class AlertFailed(Event):
    """An alert of yours (`on_anomaly`) raised an exception; the training went on.

    Attributes:
        error: type and message of the exception.
    """

    error: str


@event("hook_failed")
class HookFailed(Event):
    """Something that watches the training raised an exception and was switched off; the training went on.

    Attributes:
        hook: its name.
        error: type and message of the exception.
    """

    hook: str
    error: str


@event("samples_unavailable")
class SamplesUnavailable(Event):
    """Samples are not recorded, or no longer.

    Attributes:
        reason: why.
    """

    reason: str


@event("updates_unavailable")
class UpdatesUnavailable(Event):
    """Updates of the optimizer are not recorded, or no longer.

    Attributes:
        reason: why.
    """

    reason: str


@event("recording_failed")
class RecordingFailed(Event):
    """Something could not be recorded, or a hook in one of OpenRLHF's processes raised; the training went on.

    Attributes:
        reason: what it was, and type and message of the exception.
    """

    reason: str
