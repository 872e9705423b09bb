"""Gradients: sound in size, and they reach the weights."""

from __future__ import annotations

from dataclasses import replace

from rlhf_assert.causes.weights import weights_moved
from rlhf_assert.check import Check
from rlhf_assert.checks.outcome import (
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
from rlhf_assert.run import Run

NAME = "gradients"
STILL_KIND = "no-weight-change"


def judge_gradients(run: Run, *, fail_on: Severity = Severity.critical) -> Check:
    """Judge the gradient norm, and whether any weight moved at all between the first and the last saved state.

    A training that moves no weight fails, whatever its curves look like: learning rate 0, a reward that is the same
    for everything, frozen parameters.
    """
    signs = [*anomalies_of(run, ("grad_norm",)), *_still(run)]
    failing = serious(signs, fail_on)
    series = run.series.get("grad_norm")
    drawn = [name for name in ("grad_norm", "learning_rate", "loss") if name in run.series]
    if failing:
        lead = failing[0]
        subject = label(lead.metric) + " " if lead.kind != STILL_KIND else ""
        evidence = evidence_of(failing)
        return failed(run, NAME, f"{subject}{lead.summary}", anomalies=signs, metrics=drawn, evidence=evidence)
    if series is None:
        if weights_moved(run):
            return passed(NAME, "the weights moved", anomalies=signs, note="weights moved; no grad_norm logged")
        return skipped(NAME, "the run logged no grad_norm, and saved no two states to compare", ("grad_norm",))
    if len(series.finite) < MIN_ROWS:
        reason = f"{count(len(series.finite), 'row')} of grad_norm, a judgement takes {MIN_ROWS}"
        return insufficient(NAME, reason, drawn[:1], signs)
    headline = f"grad_norm {number(series.finite.first)} → {number(series.finite.last)}"
    return passed(NAME, headline, drawn[:1], signs)


def _still(run: Run) -> list[Anomaly]:
    """Return the anomaly of weights that did not move: by the saved weights, or by what a detector saw in the log."""
    reported = [sign for sign in anomalies_of(run, ("kl_div", "loss", "learning_rate")) if sign.kind == STILL_KIND]
    moved = weights_moved(run)
    if moved:
        return []  # the weights themselves are the better witness
    if moved is None:
        return [replace(sign, metric="grad_norm") for sign in reported[:1]]
    return [
        Anomaly(
            kind=STILL_KIND,
            metric="grad_norm",
            severity=Severity.critical,
            onset=1,
            summary=f"no weight moved in {count(run.steps, 'step')}",
            evidence={"saved states": "equal bit for bit"},
        )
    ]


