"""What reports are made of: the outcomes of runs, and the words for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rlhf_assert.check import Check, Status
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.recording.run import Run

MARKS = ("CRIT", "warn", "few", "skip", "pass")
"""The words for a check, the gravest first: failed; passed with warnings; too little data; no input; passed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One judged run.

    Attributes:
        run: the run.
        checks: what was judged, in the order in which reports list it.
        replay: the command that repeats the run; empty where none is known.
    """

    run: Run
    checks: Sequence[Check]
    replay: str = ""

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.status is Status.FAIL)

    @property
    def judged(self) -> int:
        """How many checks judged something."""
        return sum(check.status in (Status.PASS, Status.FAIL) for check in self.checks)


def mark(check: Check) -> str:
    """Return the word of `MARKS` for a check."""
    if check.status is Status.FAIL:
        return "CRIT"
    if check.status is Status.SKIPPED:
        return "skip"
    if check.status is Status.INSUFFICIENT:
        return "few"
    return "warn" if warnings(check) else "pass"


def warnings(check: Check) -> tuple[Anomaly, ...]:
    """Return what was found in a check that did not fail, notes left out."""
    return tuple(found for found in check.anomalies if found.severity >= Severity.warning)


def gravest(marks: Iterable[str]) -> str:
    """Return the gravest of some marks; `skip` if there is none, since nothing was judged."""
    return min(marks, key=MARKS.index, default="skip")


def verdict_word(checks: Sequence[Check]) -> str:
    """Return `FAIL`, `WARN`, `PASS`, or `NONE` where nothing was judged."""
    marks = [mark(check) for check in checks]
    if "CRIT" in marks:
        return "FAIL"
    if "warn" in marks:
        return "WARN"
    return "PASS" if "pass" in marks else "NONE"


def first_sign(checks: Iterable[Check]) -> Anomaly | None:
    """Return the earliest warning or worse among the checks, the gravest of one step first."""
    found = [anomaly for check in checks for anomaly in warnings(check)]
    return min(found, key=lambda anomaly: (anomaly.onset, -anomaly.severity), default=None)


def findings_of(checks: Iterable[Check]) -> list[dict[str, Any]]:
    """Return what was found as the JSON contract has it: kind, metric, severity, onset, evidence and remedy.

    Each anomaly is there once, however many checks show it. A failed check whose anomalies are none of them critical
    is a critical finding of its own, so that a failure is never without one.
    """
    found: dict[tuple[str, str, int | None], dict[str, Any]] = {}
    for check in checks:
        told = "; ".join(check.remedy)
        for anomaly in warnings(check):
            found.setdefault(
                (anomaly.kind, anomaly.metric, anomaly.onset),
                {
                    "kind": anomaly.kind,
                    "metric": anomaly.metric,
                    "severity": anomaly.severity.name,
                    "onset": anomaly.onset,
                    "evidence": dict(anomaly.evidence),
                    "remedy": (told if check.status is Status.FAIL else "") or anomaly.remedy,
                },
            )
        if check.status is Status.FAIL and all(one.severity < Severity.critical for one in check.anomalies):
            found[check.name, "", None] = {
                "kind": check.name,
                "metric": check.metrics[0] if check.metrics else "",
                "severity": Severity.critical.name,
                "onset": min((anomaly.onset for anomaly in check.anomalies), default=None),
                "evidence": {"headline": check.headline, "lines": list(check.evidence)},
                "remedy": told,
            }
    return list(found.values())
