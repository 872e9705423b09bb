"""The words that every report uses for what a check came to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rlhf_assert.checked import Check, Status
from rlhf_assert.detect import Anomaly, Severity

MARKS = ("CRIT", "err", "warn", "few", "skip", "pass")
"""The words for a check, the gravest first: failed; failed to judge; passed with warnings; too little data; no input;
passed."""


def mark(check: Check) -> str:
    """Return the word of `MARKS` for a check."""
    if check.status is Status.FAIL:
        return "CRIT"
    if check.status is Status.ERROR:
        return "err"
    if check.status is Status.SKIPPED:
        return "skip"
    if check.status is Status.INSUFFICIENT:
        return "few"
    return "warn" if warnings(check) else "pass"


def warnings(check: Check) -> tuple[Anomaly, ...]:
    """Return what was found in a check that did not fail, notes left out."""
    return tuple(anomaly for anomaly in check.anomalies if anomaly.severity >= Severity.warning)


def gravest(marks: Iterable[str]) -> str:
    """Return the gravest of some marks; `skip` if there is none, since nothing was judged."""
    return min(marks, key=MARKS.index, default="skip")


def verdict_word(checks: Sequence[Check]) -> str:
    """Return `FAIL`, `WARN`, `PASS`, or `NONE` where nothing was judged."""
    marks = [mark(check) for check in checks]
    if "CRIT" in marks or "err" in marks:
        return "FAIL"
    if "warn" in marks:
        return "WARN"
    return "PASS" if "pass" in marks else "NONE"


def first_sign(checks: Iterable[Check]) -> Anomaly | None:
    """Return the earliest warning or worse among the checks, the gravest of one step first."""
    signs = [anomaly for check in checks for anomaly in warnings(check)]
    return min(signs, key=lambda anomaly: (anomaly.onset, -anomaly.severity), default=None)


def findings_of(checks: Iterable[Check]) -> list[dict[str, Any]]:
    """Return what was found as the JSON contract has it: kind, metric, severity, onset, evidence and remedy.

    Each anomaly is there once, however many checks show it. A failed check whose anomalies are none of them critical
    is a critical finding of its own, so that a failure is never without one.
    """
    findings: dict[tuple[str, str, int | None], dict[str, Any]] = {}
    for check in checks:
        told = "; ".join(check.remedy)
        for anomaly in warnings(check):
            findings.setdefault(
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
            findings[check.name, "", None] = {
                "kind": check.name,
                "metric": check.metrics[0] if check.metrics else "",
                "severity": Severity.critical.name,
                "onset": min((anomaly.onset for anomaly in check.anomalies), default=None),
                "evidence": {"headline": check.headline, "lines": list(check.evidence)},
                "remedy": told,
            }
    return list(findings.values())
