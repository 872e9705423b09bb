"""What changes in the verdict on a log that another program wrote: no log holds everything, and no finding is lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rlhf_assert.causes.explaining import explain
from rlhf_assert.checked import Check, Status
from rlhf_assert.checks.registry import checks as registered
from rlhf_assert.checks.stating import MIN_ROWS, evidence_of, failed, passed, serious
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.facts.detected import anomalies_in
from rlhf_assert.metrics import label
from rlhf_assert.numbers import count
from rlhf_assert.recording.run import Run


def adapt_to_log(run: Run, checks: Sequence[Check]) -> tuple[Check, ...]:
    """Return the checks of a log in place of those of a run that rlhf-assert recorded.

    What no log can hold is not judged. A check never has the last word against the detectors: what they found and no
    check shows is a check of its own, named after its metric.
    """
    specs = {spec.name: spec for spec in registered()}
    loop = [check for check in checks if specs[check.name].of_the_loop and check.status is Status.SKIPPED]
    seen = [_on_a_log(check, specs[check.name].not_in_a_log, len(run.rows)) for check in checks if check not in loop]
    if loop:
        told = "a log records no updates, batches or weights: HealthCallback does"
        seen.append(Check(name="training loop", status=Status.SKIPPED, headline=told))
    shown = {_key(anomaly) for check in seen for anomaly in check.anomalies}
    rest = [each for each in anomalies_in(run) if each.severity > Severity.info and _key(each) not in shown]
    for index, check in enumerate(seen):
        its = [each for each in rest if check.status is Status.FAIL and each.metric in check.metrics[:1]]
        if its:
            seen[index] = replace(check, anomalies=(*check.anomalies, *its))
            rest = [each for each in rest if each not in its]
    return (*seen, *_of_rest(run, rest))


def _on_a_log(check: Check, not_in_a_log: str, rows: int) -> Check:
    if not_in_a_log:
        return Check(name=check.name, status=Status.SKIPPED, headline=not_in_a_log)
    if check.status is Status.PASS and rows < MIN_ROWS:
        told = f"{count(rows, 'row')}, a judgement takes {MIN_ROWS}"
        return Check(name=check.name, status=Status.INSUFFICIENT, headline=told, metrics=check.metrics)
    if check.status in (Status.SKIPPED, Status.INSUFFICIENT):
        return replace(check, anomalies=())  # a finding beside `not judged` would not be seen
    return check


def _of_rest(run: Run, rest: Iterable[Anomaly]) -> list[Check]:
    by_metric: dict[str, list[Anomaly]] = {}
    for anomaly in rest:
        by_metric.setdefault(anomaly.metric, []).append(anomaly)
    return [_of_metric(run, metric, its) for metric, its in by_metric.items()]


def _of_metric(run: Run, metric: str, its: Sequence[Anomaly]) -> Check:
    failing = serious(its, Severity.critical)
    lead = (failing or its)[0]
    name, headline = label(metric) or lead.kind, f"{label(metric)} {lead.summary}".lstrip()
    drawn = [metric] if metric in run else []
    if not failing:
        return replace(passed(headline, drawn, its), name=name)
    remedy = [lead.remedy] if lead.remedy else []
    check = failed(headline, anomalies=its, metrics=drawn, evidence=evidence_of(failing), remedy=remedy)
    return explain(run, replace(check, name=name))


def _key(anomaly: Anomaly) -> tuple[str, str, int]:
    return anomaly.kind, anomaly.metric, anomaly.onset
