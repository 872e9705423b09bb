"""A training that was interrupted and launched again: its second half continues the first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from rlhf_assert.checked import Check
from rlhf_assert.checks.registry import check
from rlhf_assert.checks.stating import failed, insufficient, passed, skipped
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.failures import LoopUnsound
from rlhf_assert.metrics import label
from rlhf_assert.numbers import number, setting
from rlhf_assert.recording.events import Resume
from rlhf_assert.recording.run import Run

ROWS, FEWEST = 5, 3
"""Rows on each side of a resume that are compared, and the fewest that tell a level."""
NEIGHBOURS, STEEP, SLACK = 3, 3.0, 0.01
"""A schedule is smooth: from one row to the next it changes by no more than `STEEP` times what it changed between the
`NEIGHBOURS` rows before, and `SLACK` of its highest value."""
BACK, DEVIATIONS = 0.5, 5.0
"""A level is lost if it falls by more than this share of the way back to its start, and by more than so many standard
errors: by chance, one healthy resume in 2,000 does (Student's t with 8 degrees of freedom)."""
NO_DISTANCE, SOME_DISTANCE = 1e-6, 1e-4
"""kl_div in nats per token of a policy that is its reference to within rounding, and of one that surely is not."""


@check(
    name="resume",
    question="Does a resumed training go on where it was?",
    failure=LoopUnsound,
    order=150,
    needs="a resume",
    assertion="assert_loop_sound",
    of_the_loop=True,
)
def judge_resume(run: Run) -> Check:
    """Judge whether a resumed training goes on where it was: steps, learning rate, and what it has reached.

    Fails on a step that was trained twice or left out, a learning rate that jumps at the resume, a policy that is at a
    distance of 0 from its reference again, and a kl_div or a learning signal that falls back to where it began. Lost
    moments of the optimizer are seen by `judge_optimizer`.
    """
    resumes = [event.step for event in run.events_of(Resume)]
    if not resumes:
        return skipped("the scenario asks for no resume")
    steps = [row.step for row in run.rows]
    if max(steps, default=0) <= resumes[-1] and len(set(steps)) == len(steps):
        return insufficient(f"no row was logged after the resume at step {resumes[-1]}")
    anomalies = [anomaly for last in resumes for rule in (_steps, _rate, _level) for anomaly in rule(run, last)]
    if anomalies:
        lead = anomalies[0]
        return failed(
            lead.summary,
            anomalies=anomalies,
            metrics=[name for name in dict.fromkeys((lead.metric, "learning_rate", "reward")) if name in run.series],
            evidence=[f"resumed after step {', '.join(map(str, resumes))}"],
            remedy=("load weights, optimizer, scheduler and the place in the data from one checkpoint",),
        )
    places = ", ".join(map(str, resumes))
    return passed(f"went on after step {places}", note=f"went on after step {places}")


def _steps(run: Run, last: int) -> Iterator[Anomaly]:
    steps = [row.step for row in run.rows]
    gaps = [after - before for before, after in pairwise(steps)]
    usual = max((gap for before, gap in zip(steps, gaps, strict=False) if not before <= last < before + gap), default=1)
    for before, gap in zip(steps, gaps, strict=False):
        if gap <= 0:
            text = f"step {before + gap} was trained twice: the resume went back from step {before}"
            yield _sign("repeated-step", "learning_rate", last, text)
            return
        if before <= last < before + gap and gap > usual:
            text = f"step {before + 1} is missing: the resume went on with step {before + gap}"
            yield _sign("missing-step", "learning_rate", last, text)


def _rate(run: Run, last: int) -> Iterator[Anomaly]:
    series = run.series.get("learning_rate")
    if series is None:
        return
    before, after = series.values[series.steps <= last], series.values[series.steps > last]
    if len(before) < 2 or not len(after):
        return
    usual = float(np.abs(np.diff(before[-NEIGHBOURS - 1 :])).max())
    if abs(after[0] - before[-1]) > STEEP * usual + SLACK * float(np.abs(series.values).max()):
        values = f"{setting(float(before[-1]))} → {setting(float(after[0]))}"
        yield _sign("schedule-restarted", "learning_rate", last, f"learning_rate jumps at the resume: {values}")


def _level(run: Run, last: int) -> Iterator[Anomaly]:
    for metric in dict.fromkeys(("kl_div", str(run.info.get("learns") or ""))):
        series = run.series.get(metric)
        if series is None:
            continue
        values, steps = series.finite.values, series.finite.steps
        before, after = values[steps <= last], values[steps > last]
        if metric == "kl_div" and len(before) and len(after):
            far, near = abs(float(before[-1])), abs(float(after[0]))
            if far > SOME_DISTANCE and near < NO_DISTANCE:
                yield _sign("weights-lost", metric, last, f"kl is 0 again after step {last}: it was {number(far)}")
                continue
        if min(len(before) // 2, len(after)) < FEWEST:
            continue
        count = min(ROWS, len(before) // 2)
        start, end, again = before[:count], before[-count:], after[:count]
        gain, fall = end.mean() - start.mean(), end.mean() - again.mean()
        error = math.sqrt(sum(float(part.var(ddof=1)) / len(part) for part in (end, again)))
        if fall * gain > 0.0 and abs(fall) > max(BACK * abs(gain), DEVIATIONS * error):
            from_to = f"{number(float(end.mean()))} → {number(float(again.mean()))}"
            summary = f"{label(metric)} fell back at the resume: {from_to}, it began at {number(float(start.mean()))}"
            yield _sign("progress-lost", metric, last, summary)


def _sign(kind: str, metric: str, last: int, summary: str) -> Anomaly:
    return Anomaly(
        kind=kind,
        metric=metric,
        severity=Severity.critical,
        onset=last + 1,
        summary=summary,
        evidence={"resumed after": last},
    )
