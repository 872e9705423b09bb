"""What the detectors report about a run, by the run's own settings; a run is scanned once, however many ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.budget import Rates
from rlhf_assert.detect.scan import Stream, detectors_for, discover, last_states
from rlhf_assert.detect.settings import settings_of
from rlhf_assert.recording.events import AnomalyFound, MonitorFailed
from rlhf_assert.recording.run import Run


@dataclass(frozen=True, slots=True)
class _Detected:
    anomalies: tuple[Anomaly, ...]
    expected_false_alarms: Rates
    failed: Mapping[str, str]


_known: WeakKeyDictionary[Run, _Detected] = WeakKeyDictionary()


def anomalies_in(run: Run) -> tuple[Anomaly, ...]:
    """Return what the detectors report, by onset, the gravest of one step first.

    Those are the detectors that are known here. What others reported while the run trained, such as those that a
    `HealthCallback` was given, is there as well.

    Raises:
        UnreadableRun: this version does not know the run's settings.
    """
    return _detected(run).anomalies


def failed_detectors(run: Run) -> Mapping[str, str]:
    """Return the detectors that could not judge the run, now or while it trained, by name, each with its error."""
    return _detected(run).failed


def expected_false_alarms(run: Run) -> Rates:
    """Return how likely the statistical detectors that had data flag such a run, were it healthy: an upper bound.

    The bound is the run's false-alarm budget (`rlhf_assert.detect.budget`), or nothing where no statistical detector
    had data. Invariants and bounds of scale do not draw on it, nor do the checks of samples, checkpoints and resources.
    """
    return _detected(run).expected_false_alarms


def by_onset(anomaly: Anomaly) -> tuple[int, int]:
    """Return the sort key of an anomaly: by onset, the gravest of one step first."""
    return anomaly.onset, -anomaly.severity


def _detected(run: Run) -> _Detected:
    if run not in _known:
        settings = settings_of(run.info)
        budget = settings.budget()
        detectors = detectors_for(run, budget)
        stream = Stream(detectors)
        scanned = list(discover(run.rows, stream))
        off = {name for name, value in settings.detectors.items() if value is False}
        judging = {detector.name for detector in detectors} - stream.failed.keys()
        anomalies = last_states([*_reported_live(run, judging | off), *scanned])
        failed = {**_failed_live(run, judging | off), **stream.failed}
        _known[run] = _Detected(tuple(sorted(anomalies, key=by_onset)), budget.spent, failed)
    return _known[run]


def _reported_live(run: Run, but: set[str]) -> Iterator[Anomaly]:
    """Yield the recorded anomalies of every detector but some; an event without a detector's name is an old one."""
    for event in run.events_of(AnomalyFound):
        if event.detector and event.detector not in but and event.severity in Severity.__members__:
            fields = {name: getattr(event, name) for name in Anomaly.__dataclass_fields__}
            yield Anomaly(**{**fields, "severity": Severity[event.severity]})


def _failed_live(run: Run, but: set[str]) -> dict[str, str]:
    """Return the detectors, but some, that failed while the run trained, each with its error."""
    return {
        event.detector: event.error
        for event in run.events_of(MonitorFailed)
        if event.detector and event.detector not in but
    }
