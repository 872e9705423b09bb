"""What the default detectors find in a run, by the run's own settings; a run is scanned once, however many ask."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from rlhf_assert.detect import Anomaly, scan
from rlhf_assert.detect.budget import Rates
from rlhf_assert.detect.scan import detectors_for
from rlhf_assert.detect.settings import settings_of
from rlhf_assert.recording.run import Run

_found: WeakKeyDictionary[Run, tuple[tuple[Anomaly, ...], Rates]] = WeakKeyDictionary()


def anomalies_in(run: Run) -> tuple[Anomaly, ...]:
    """Return what the default detectors find, by onset, the gravest of one step first.

    Raises:
        UnreadableRun: the run's settings are none that this version knows.
    """
    return _scanned(run)[0]


def expected_false_alarms(run: Run) -> Rates:
    """Return how likely the statistical checks that had data flag such a run, were it healthy: an upper bound.

    The bound is the run's false-alarm budget (`rlhf_assert.detect.budget`), or nothing where no statistical check had
    data. Invariants and bounds of scale do not draw on it, nor do the checks of samples, checkpoints and resources.
    """
    return _scanned(run)[1]


def by_onset(anomaly: Anomaly) -> tuple[int, int]:
    """Return the sort key of an anomaly: by onset, the gravest of one step first."""
    return anomaly.onset, -anomaly.severity


def _scanned(run: Run) -> tuple[tuple[Anomaly, ...], Rates]:
    if run not in _found:
        budget = settings_of(run.info).budget()
        found = sorted(scan(run, detectors_for(run, budget)), key=by_onset)
        _found[run] = tuple(found), budget.spent
    return _found[run]
