"""Whether what the trainer must log was logged."""

from __future__ import annotations

from dataclasses import replace

from rlhf_assert.checked import Check, Concern
from rlhf_assert.checks.registry import check
from rlhf_assert.checks.spec import of_algorithms
from rlhf_assert.checks.stating import failed, passed, skipped
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.errors import suggest
from rlhf_assert.failures import MetricMissing
from rlhf_assert.numbers import count
from rlhf_assert.recording.run import Run


@check(
    name="completeness",
    question="Was every promised metric logged?",
    failure=MetricMissing,
    order=20,
    concerns=frozenset({Concern.RECORD}),
    needs="promised metrics",
    assertion="assert_metrics_logged",
    at_the_end=True,
    not_in_a_log="nobody promised what this log must hold",
    expected=of_algorithms("ppo", "grpo", "rloo", "online-dpo", "dpo", "kto", "reward", "sft"),
)
def judge_promised_metrics(run: Run) -> Check:
    """Judge whether every promised metric was logged; a run without a single row fails whatever it promised."""
    if not run.rows:
        return _failed(run, f"the run logged nothing: it ended {run.status} without a row", ())
    if not run.promised:
        return skipped("the scenario and its backend promise no metric")
    missing = [metric for metric in run.promised if metric not in run.series]
    if not missing:
        return passed(f"all {count(len(run.promised), 'promised metric')} logged", run.promised)
    headline = f"{count(len(missing), 'promised metric')} not logged: {', '.join(missing)}"
    return _failed(run, headline, tuple(missing))


def judge_promised_metric(run: Run, metric: str) -> Check:
    """Judge whether one metric was logged, for reports of a line per metric. Null counts as logged."""
    name = f"{judge_promised_metrics.name}[{metric}]"
    if metric in run.series:
        logged = passed(f"{metric} logged on {count(len(run[metric]), 'row')} of {len(run.rows)}", (metric,))
        return replace(logged, name=name)
    return replace(_failed(run, f"{metric} was promised and never logged", (metric,)), name=name)


def _failed(run: Run, headline: str, missing: tuple[str, ...]) -> Check:
    anomaly = Anomaly(
        kind="missing-metric",
        metric=missing[0] if missing else "",
        severity=Severity.critical,
        onset=run.rows[0].step if run.rows else 1,
        summary="promised and never logged",
    )
    near = [f"{metric}{suggest(metric, run.unmapped)}" for metric in missing if suggest(metric, run.unmapped)]
    unmapped = f"keys that no table knows: {', '.join(run.unmapped[:8])}" if run.unmapped else ""
    return failed(
        headline,
        anomalies=[anomaly],
        metrics=(),
        evidence=[*near, *([unmapped] if unmapped else []), f"{count(len(run.rows), 'row')} logged"],
        remedy=["a newer trainer may have renamed its keys: compare the run's keys with rlhf_assert/metrics.py"]
        if missing
        else ["the training's own output is in output.log of the run directory"],
    )
