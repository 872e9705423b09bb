"""The losses, a check each."""

from __future__ import annotations

from rlhf_assert.check import Check
from rlhf_assert.checks.curve import judge_curve
from rlhf_assert.checks.outcome import skipped
from rlhf_assert.detect import Severity
from rlhf_assert.run import Run

LOSSES = ("loss", "policy_loss", "value_loss")


def judge_losses(run: Run, *, fail_on: Severity = Severity.critical) -> tuple[Check, ...]:
    """Judge every loss that the run logged, a check each; one skipped check if it logged none."""
    found = tuple(judge_loss(run, metric, fail_on=fail_on) for metric in LOSSES if metric in run.series)
    return found or (skipped("loss", "the run logged no loss", LOSSES),)


def judge_loss(run: Run, metric: str, *, fail_on: Severity = Severity.critical) -> Check:
    """Judge one loss. The level of a policy loss means nothing (it is 0 on the policy that sampled): only its course."""
    companions = ("explained_variance",) if metric == "value_loss" else ()
    return judge_curve(run, metric, companions=companions, fail_on=fail_on)
