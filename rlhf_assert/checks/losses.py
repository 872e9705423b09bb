"""The losses, a check each."""

from __future__ import annotations

from rlhf_assert.causes.critic_scale import begins_out_of_scale
from rlhf_assert.check import Check
from rlhf_assert.checks.learning import MIN_ROWS, measure_gain
from rlhf_assert.checks.metric_curve import judge_curve
from rlhf_assert.checks.stating import skipped
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.numbers import number
from rlhf_assert.recording.run import Run

LOSSES = ("loss", "policy_loss", "value_loss")


def judge_losses(run: Run, *, fail_on: Severity = Severity.critical) -> tuple[Check, ...]:
    """Judge every loss that the run logged, a check each; one skipped check if it logged none."""
    found = tuple(judge_loss(run, metric, fail_on=fail_on) for metric in LOSSES if metric in run.series)
    return found or (skipped("loss", "the run logged no loss", LOSSES),)


def judge_loss(run: Run, metric: str, *, fail_on: Severity = Severity.critical) -> Check:
    """Judge one loss. The level of a policy loss means nothing (it is 0 on the policy that sampled): only its course.

    A value loss is measured against the rewards too: one that begins 300 times above what their scale can make it is
    warned of, since the advantages of those steps are noise; in a run whose reward rises all the same it is a note.
    Never more: small rewards make it, and critics come down from it by themselves.
    """
    if metric != "value_loss":
        return judge_curve(run, metric, fail_on=fail_on)
    return judge_curve(run, metric, companions=("explained_variance",), fail_on=fail_on, signs=_value_scale(run))


def _value_scale(run: Run) -> list[Anomaly]:
    factor = begins_out_of_scale(run)
    if factor is None:
        return []
    losses = run["value_loss"]
    step = int(losses.steps[0])
    return [
        Anomaly(
            kind="value-scale",
            metric="value_loss",
            severity=Severity.info if _learns(run) else Severity.warning,
            onset=step,
            summary=f"{number(losses.first)} at step {step}, x{number(factor)} what the rewards' scale makes it",
            evidence={"value loss": losses.first, "times expected": factor},
        )
    ]


def _learns(run: Run) -> bool:
    rewards = run["reward"].finite.values
    return len(rewards) >= MIN_ROWS and measure_gain(rewards).low > 0.0
