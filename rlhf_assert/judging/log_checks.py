"""The checks of a log that other programs wrote: what no log can hold is not judged, and no finding is lost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from rlhf_assert.check import Check, Status
from rlhf_assert.checks.stating import MIN_ROWS, evidence_of, failed, passed, serious
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.facts.detected import anomalies_in
from rlhf_assert.metrics import label
from rlhf_assert.numbers import count
from rlhf_assert.recording.run import Run
from rlhf_assert.verdict import judge

NOT_IN_A_LOG = {
    "completion": "a log does not tell how its training ended",
    "completeness": "nobody promised what this log must hold",
    "learning": "nobody promised what this training learns",
    "checkpoints": "a log holds no weights: rlhf-assert checkpoint PATH",
    "resources": "a log holds no samples of memory or processors",
}
"""Checks whose input only a run that rlhf-assert recorded can have, and why."""

LOOP = frozenset({"optimizer", "objective", "reference", "rollout", "data", "resume", "actors", "engine"})
"""Checks of the training loop and of what it runs on, told in one line where the log holds nothing for them."""


def checks_of(run: Run) -> tuple[Check, ...]:
    """Return the checks of a run.

    On a log that others wrote, a check never has the last word against the detectors: what they found and no check
    shows is a check of its own, named after its metric.
    """
    checks = judge(run).checks
    if "log" not in run.info:
        return checks
    loop = [check for check in checks if check.name in LOOP and check.status is Status.SKIPPED]
    seen = [_on_a_log(check, len(run.rows)) for check in checks if check not in loop]
    if loop:
        told = "a log records no updates, batches or weights: HealthCallback does"
        seen.append(Check(name="training loop", status=Status.SKIPPED, headline=told))
    shown = {_key(found) for check in seen for found in check.anomalies}
    rest = [found for found in anomalies_in(run) if found.severity > Severity.info and _key(found) not in shown]
    for index, check in enumerate(seen):
        its = [found for found in rest if check.status is Status.FAIL and found.metric in check.metrics[:1]]
        if its:
            seen[index] = replace(check, anomalies=(*check.anomalies, *its))
            rest = [found for found in rest if found not in its]
    return (*seen, *_of_rest(run, rest))


def _on_a_log(check: Check, rows: int) -> Check:
    if check.name in NOT_IN_A_LOG:
        return Check(name=check.name, status=Status.SKIPPED, headline=NOT_IN_A_LOG[check.name])
    if check.status is Status.PASS and rows < MIN_ROWS:
        told = f"{count(rows, 'row')}, a judgement takes {MIN_ROWS}"
        return Check(name=check.name, status=Status.INSUFFICIENT, headline=told, metrics=check.metrics)
    if check.status in (Status.SKIPPED, Status.INSUFFICIENT):
        return replace(check, anomalies=())  # a finding beside `not judged` would not be seen
    return check


def _of_rest(run: Run, rest: Iterable[Anomaly]) -> list[Check]:
    by_metric: dict[str, list[Anomaly]] = {}
    for found in rest:
        by_metric.setdefault(found.metric, []).append(found)
    checks = []
    for metric, its in by_metric.items():
        failing = serious(its, Severity.critical)
        lead = (failing or its)[0]
        name, headline = label(metric) or lead.kind, f"{label(metric)} {lead.summary}".lstrip()
        drawn = [metric] if metric in run else []
        if failing:
            evidence, remedy = evidence_of(failing), [lead.remedy] if lead.remedy else []
            checks.append(failed(run, name, headline, anomalies=its, metrics=drawn, evidence=evidence, remedy=remedy))
        else:
            checks.append(passed(name, headline, drawn, its))
    return checks


def _key(found: Anomaly) -> tuple[str, str, int]:
    return found.kind, found.metric, found.onset
