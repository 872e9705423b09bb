"""Gradients: sound in size, and they reach the weights."""

from __future__ import annotations

from math import isfinite

from rlhf_assert.checked import Check, Concern
from rlhf_assert.checks.registry import check
from rlhf_assert.checks.spec import of_algorithms
from rlhf_assert.checks.stating import (
    MIN_ROWS,
    STANDSTILL,
    anomalies_of,
    evidence_of,
    failed,
    insufficient,
    passed,
    serious,
    skipped,
)
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.facts.detected import anomalies_in
from rlhf_assert.facts.saved_weights import weights_moved
from rlhf_assert.failures import GradientAnomaly
from rlhf_assert.metrics import label
from rlhf_assert.numbers import count, number
from rlhf_assert.recording.events import Update
from rlhf_assert.recording.run import Run

UNMOVED = "unmoved-weights"
JUMP, SETTLED, STAYS = 20.0, 5, 3
"""A jump multiplies the norm by `JUMP` from one step to the next, after `SETTLED` steps, for at least `STAYS` steps.
Where a training takes hold the norm may grow 200 fold, but it passes through all values in between."""


@check(
    name="gradients",
    question="Are gradients of a sound size, and do they move the weights?",
    failure=GradientAnomaly,
    order=60,
    concerns=frozenset({Concern.WEIGHTS, Concern.UPDATES, Concern.STANDSTILL, Concern.SIGNAL, Concern.REWARDS}),
    needs="grad_norm, or two saved states of the weights",
    owns=("grad_norm",),
    assertion="assert_gradients_sound",
    root_rank=50,
    finds=frozenset(
        {
            "learning_rate_zero",
            "gradient_drop",
            "gradient_noise",
            "gradient_nan",
            "gradient_inf",
            "parameters_frozen",
            "weights_nan",
            "weights_inf",
            "reward_constant",
            "kl_coefficient_wrong",
            "kl_coefficient_negated",
        }
    ),
    expected=of_algorithms("ppo", "grpo", "rloo", "online-dpo", "dpo", "kto", "reward", "sft"),
)
def judge_gradients(run: Run, *, fail_on: Severity = Severity.critical) -> Check:
    """Judge the gradient norm, and whether any weight moved at all between the first and the last saved state.

    A training that moves no weight fails, whatever its curves look like: learning rate 0, a reward that is the same
    for everything, frozen parameters. So does a norm that from one step to the next is 20 times all that it was, and
    stays there: clipped or not, what is applied then is another gradient.
    """
    signs = [*anomalies_of(run, ("grad_norm",)), *_still(run), *_jump(run)]
    failing = serious(signs, fail_on)
    series = run.series.get("grad_norm")
    drawn = [name for name in ("grad_norm", "learning_rate", "loss") if name in run.series]
    if failing:
        lead = failing[0]
        headline = lead.summary if lead.kind == UNMOVED else f"{label(lead.metric)} {lead.summary}"
        evidence = evidence_of(failing)
        return failed(headline, anomalies=signs, metrics=drawn, evidence=evidence)
    if series is None:
        if weights_moved(run):
            return passed("the weights moved", anomalies=signs, note="weights moved; no grad_norm logged")
        return skipped("the run logged no grad_norm, and saved no two states to compare", ("grad_norm",))
    if len(series.finite) < MIN_ROWS:
        reason = f"{count(len(series.finite), 'row')} of grad_norm, a judgement takes {MIN_ROWS}"
        return insufficient(reason, drawn[:1], signs)
    headline = f"grad_norm {number(series.finite.first)} → {number(series.finite.last)}"
    return passed(headline, drawn[:1], signs)


def _jump(run: Run) -> list[Anomaly]:
    steps, values = _norms(run)
    highest = max(values[:SETTLED], default=0.0)
    for index in range(SETTLED, len(values) - STAYS + 1):
        lowest = min(values[index : index + STAYS])
        if lowest > JUMP * highest > 0.0:
            summary = f"jumped to {number(lowest / highest)} times its highest at step {steps[index]}, and stayed"
            return [
                Anomaly(
                    kind="gradient-jump",
                    metric="grad_norm",
                    severity=Severity.critical,
                    onset=steps[index],
                    summary=summary,
                    evidence={"highest before": highest, "lowest since": lowest},
                    causes=("noise in the gradients", "a term of the loss whose scale changed"),
                )
            ]
        highest = max(highest, values[index])
    return []


def _norms(run: Run) -> tuple[list[int], list[float]]:
    """Return steps and gradient norms as logged; where none is, as the optimizer took them (the greatest of a step)."""
    if series := run.series.get("grad_norm"):
        return series.finite.steps.tolist(), series.finite.values.tolist()
    greatest: dict[int, float] = {}
    for update in run.events_of(Update):
        if update.grad_norm is not None and isfinite(update.grad_norm):
            greatest[update.step] = max(update.grad_norm, greatest.get(update.step, 0.0))
    return list(greatest), list(greatest.values())


def _still(run: Run) -> list[Anomaly]:
    """Return the anomalies of weights that do not move: by the saved weights, or by what the log shows."""
    reported = [anomaly for anomaly in anomalies_in(run) if anomaly.kind in STANDSTILL]
    moved = weights_moved(run)
    if moved:  # the weights are the better witness; a gradient of 0 may still come later
        return [anomaly for anomaly in reported if anomaly.kind != "no-update"]
    if moved is None:
        return reported
    still = Anomaly(
        kind=UNMOVED,
        metric="grad_norm",
        severity=Severity.critical,
        onset=1,
        summary=f"no weight moved in {count(run.steps, 'step')}",
        evidence={"saved states": "equal bit for bit"},
    )
    return [still, *reported]
