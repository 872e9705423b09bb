"""What is told about a recorded run, by whom, and at which step it could be told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from rlhf_assert.checked import Check, Status
from rlhf_assert.checks.registry import checks
from rlhf_assert.detect import Anomaly, Detector, Severity, discover
from rlhf_assert.detect.scan import Stream, detectors_for
from rlhf_assert.recording.run import Run
from rlhf_assert.validation.prefix import prefix
from rlhf_assert.verdict import Verdict, judge, judge_by


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """One thing that was told about a run.

    Attributes:
        source: the detector, or the check, that told it.
        check: the check that fails (or warns) by it; empty where no check of ours reports it.
        kind: the anomaly's kind.
        metric: canonical name of the metric that shows it.
        severity: how grave it was when it was told.
        onset: the step from which on it is said to be wrong.
        told: the step whose row or record completed the evidence. A check that judges the whole run is asked again
            about the run as it stood at earlier steps; what only the end can show is told at the last step.
    """

    source: str
    check: str
    kind: str
    metric: str
    severity: Severity
    onset: int
    told: int


def every_sign(run: Run, verdict: Verdict | None = None) -> tuple[Sign, ...]:
    """Return what our detectors and checks tell about a run, by its own settings.

    Args:
        run: the run.
        verdict: the verdict on it, where it is there already.
    """
    verdict = verdict or judge(run)
    detected = detector_signs(run, detectors_for(run), verdict.checks)
    return (*detected, *check_signs(run, verdict, detected))


class _Noting:
    """A detector whose reports are noted with the step at which they came."""

    def __init__(self, detector: Detector, notes: list[tuple[int, str, Anomaly]]) -> None:
        self._detector, self._notes = detector, notes

    @property
    def name(self) -> str:
        return self._detector.name

    def update(self, step: int, metrics: Mapping[str, float | None]) -> Iterator[Anomaly]:
        for anomaly in self._detector.update(step, metrics):
            self._notes.append((step, self.name, anomaly))
            yield anomaly


def detector_signs(
    run: Run, detectors: Iterable[Detector], checks: Iterable[Check] = (), *, failed: dict[str, str] | None = None
) -> tuple[Sign, ...]:
    """Feed a run to detectors, and return what each told, in the order in which they told it.

    Args:
        run: the run.
        detectors: fresh detectors.
        checks: the run's checks, of which each sign names the one that reports it.
        failed: takes the detectors that failed, by name, each with its error.
    """
    notes: list[tuple[int, str, Anomaly]] = []
    stream = Stream(_Noting(detector, notes) for detector in detectors)
    for _ in discover(run.rows, stream):
        pass
    if failed is not None:
        failed |= stream.failed
    reported = {_identity(anomaly): check.name for check in checks for anomaly in check.anomalies}
    return tuple(_sign(name, reported.get(_identity(anomaly), ""), anomaly, step) for step, name, anomaly in notes)


def check_signs(run: Run, verdict: Verdict, detected: Iterable[Sign]) -> tuple[Sign, ...]:
    """Return what the checks found themselves: in samples, weights, checkpoints, resources and events.

    Args:
        run: the run.
        verdict: the verdict on it.
        detected: what the detectors told, which checks only repeat.
    """
    known = {(sign.kind, sign.metric, sign.onset) for sign in detected}
    signs: list[Sign] = []
    with TemporaryDirectory(prefix="rlhf-assert-prefix-") as folder:
        up_to = cache(lambda step: prefix(run, step, Path(folder) / str(step)))
        for check in verdict.checks:
            own = [anomaly for anomaly in check.anomalies if _identity(anomaly) not in known]
            if check.status is Status.FAIL and not check.anomalies:
                own = [_wordless(run, check)]
            signs += [_sign(check.name, check.name, anomaly, _told(run, check, anomaly, up_to)) for anomaly in own]
    return tuple(signs)


def _told(run: Run, check: Check, anomaly: Anomaly, up_to: Callable[[int], Run]) -> int:
    """Return the first step up to which the record of the run gives this finding, by bisection."""
    at_the_end = {spec.name for spec in checks() if spec.at_the_end}
    if check.name in at_the_end or anomaly.onset > run.steps:
        return max(run.steps, anomaly.onset)
    low, high = max(1, min(anomaly.onset, run.steps)), run.steps
    while low < high:
        middle = (low + high) // 2
        if _shows(up_to(middle), check.name, anomaly):
            high = middle
        else:
            low = middle + 1
    return high


def _shows(run: Run, name: str, anomaly: Anomaly) -> bool:
    specs = [spec for spec in checks() if spec.name == name]
    verdict = judge_by(run, specs) if specs else judge(run)  # what no check owns has a check of its own in a log
    check = next((check for check in verdict.checks if check.name == name), None)
    if check is None:
        return False
    return any(shown.kind == anomaly.kind and shown.severity >= anomaly.severity for shown in check.anomalies) or (
        not anomaly.kind and check.status is Status.FAIL
    )


def _wordless(run: Run, check: Check) -> Anomaly:
    """Return the anomaly of a check that failed without one; it has no kind."""
    return Anomaly(kind="", metric="", severity=Severity.critical, onset=run.steps, summary=check.headline)


def _identity(anomaly: Anomaly) -> tuple[str, str, int]:
    return anomaly.kind, anomaly.metric, anomaly.onset


def _sign(source: str, check: str, anomaly: Anomaly, told: int) -> Sign:
    return Sign(
        source=source,
        check=check,
        kind=anomaly.kind,
        metric=anomaly.metric,
        severity=anomaly.severity,
        onset=anomaly.onset,
        told=told,
    )
