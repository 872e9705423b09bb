"""What the default detectors find in a run; a run is scanned once, however many ask."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from rlhf_assert.detect import Anomaly, scan
from rlhf_assert.run import Run

_found: WeakKeyDictionary[Run, tuple[Anomaly, ...]] = WeakKeyDictionary()


def anomalies_in(run: Run) -> tuple[Anomaly, ...]:
    """Return what the default detectors find, by onset, the gravest of one step first."""
    if run not in _found:
        _found[run] = tuple(sorted(scan(run), key=by_onset))
    return _found[run]


def by_onset(anomaly: Anomaly) -> tuple[int, int]:
    """Return the sort key of an anomaly: by onset, the gravest of one step first."""
    return anomaly.onset, -anomaly.severity
