"""The check of one curve: what the detectors found in a metric."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_assert.checked import Check
from rlhf_assert.checks.stating import (
    MIN_ROWS,
    anomalies_of,
    evidence_of,
    failed,
    insufficient,
    passed,
    serious,
    skipped,
)
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.metrics import label
from rlhf_assert.numbers import count, number
from rlhf_assert.recording.run import Run


def judge_curve(
    run: Run,
    metric: str,
    *,
    companions: Sequence[str] = (),
    fail_on: Severity = Severity.critical,
    missing: str = "",
    signs: Sequence[Anomaly] = (),
) -> Check:
    """Judge one metric by what the detectors found in it.

    Args:
        run: the run.
        metric: canonical name.
        companions: metrics that are judged with it and drawn below it, where recorded.
        fail_on: the severity from which an anomaly fails the check; lesser ones stay with it as warnings.
        missing: why the metric may rightly be absent.
        signs: anomalies that the caller found itself.
    """
    recorded = [name for name in (metric, *companions) if name in run.series]
    if metric not in run.series:
        return skipped(missing or f"the run logged no {metric}", (metric,))
    anomalies = [*anomalies_of(run, recorded), *signs]
    failing = serious(anomalies, fail_on)
    if failing:
        lead = failing[0]
        shown = [lead.metric, *(other for other in recorded if other != lead.metric)]
        headline = f"{label(lead.metric)} {lead.summary}"
        return failed(headline, anomalies=anomalies, metrics=shown, evidence=evidence_of(failing))
    series = run[metric]
    rows = len(series.finite)
    if rows < MIN_ROWS:
        return insufficient(f"{count(rows, 'row')} of {metric}, a judgement takes {MIN_ROWS}", recorded, anomalies)
    headline = f"{label(metric)} {number(series.finite.first)} → {number(series.finite.last)}"
    return passed(headline, recorded, anomalies)
