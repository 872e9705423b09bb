"""The losses, a check each."""

from __future__ import annotations

from rlhf_assert.checked import Check, Concern
from rlhf_assert.checks.learning import MIN_ROWS, measure_gain
from rlhf_assert.checks.metric_curve import judge_curve
from rlhf_assert.checks.registry import check
from rlhf_assert.checks.spec import of_algorithms
from rlhf_assert.checks.stating import skipped
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.facts.value_scale import begins_out_of_scale
from rlhf_assert.failures import LossAnomaly
from rlhf_assert.numbers import number
from rlhf_assert.recording.run import Run

LOSSES = ("loss", "policy_loss", "value_loss")


@check(
    name="loss",
    question="Does the loss behave as in healthy runs?",
    failure=LossAnomaly,
    order=40,
    concerns=frozenset({Concern.REFERENCE, Concern.UPDATES, Concern.SIGNAL, Concern.REWARDS, Concern.RATIO}),
    needs="loss",
    owns=("loss",),
    applies=lambda run: "loss" in run.series or not any(metric in run.series for metric in LOSSES),
    assertion="assert_losses_sound",
    root_rank=70,
    finds=frozenset(
        {
            "learning_rate_spike",
            "gradient_noise",
            "gradient_nan",
            "gradient_inf",
            "weights_nan",
            "weights_inf",
            "reward_rescaled",
            "kl_coefficient_wrong",
            "kl_coefficient_negated",
            "reference_noised",
            "reference_zeroed",
            "dropout_left_on",
        }
    ),
    expected=of_algorithms("grpo", "rloo", "online-dpo", "dpo", "kto", "reward", "sft"),
)
def judge_whole_loss(run: Run, *, fail_on: Severity = Severity.critical) -> Check:
    """Judge the loss that the trainer logs as a whole."""
    if "loss" not in run.series:
        return skipped("the run logged no loss", LOSSES)
    return judge_loss(run, "loss", fail_on=fail_on)


@check(
    name="policy_loss",
    question="Does the policy's loss behave as in healthy runs?",
    failure=LossAnomaly,
    order=41,
    concerns=frozenset({Concern.UPDATES, Concern.SIGNAL, Concern.REWARDS, Concern.CRITIC, Concern.RATIO}),
    needs="policy_loss",
    owns=("policy_loss",),
    applies=lambda run: "policy_loss" in run.series,
    assertion="assert_losses_sound",
    root_rank=80,
    finds=frozenset(
        {
            "kl_coefficient_wrong",
            "kl_coefficient_negated",
            "rollout_weights_stale",
            "temperature_mismatch",
            "dropout_left_on",
        }
    ),
    expected=of_algorithms("ppo"),
)
def judge_policy_loss(run: Run, *, fail_on: Severity = Severity.critical) -> Check:
    """Judge the loss of the policy, where it is logged apart from the critic's."""
    return judge_loss(run, "policy_loss", fail_on=fail_on)


@check(
    name="value_loss",
    question="Does the critic's loss behave as in healthy runs, and fit the rewards' scale?",
    failure=LossAnomaly,
    order=42,
    concerns=frozenset({Concern.UPDATES, Concern.REWARDS, Concern.CRITIC}),
    needs="value_loss",
    owns=("value_loss", "explained_variance"),
    applies=lambda run: "value_loss" in run.series,
    assertion="assert_losses_sound",
    root_rank=30,
    finds=frozenset({"value_head_scaled", "reward_rescaled", "critic_learning_rate_spike"}),
    expected=of_algorithms("ppo"),
)
def judge_value_loss(run: Run, *, fail_on: Severity = Severity.critical) -> Check:
    """Judge the loss of the critic, where it is logged apart from the policy's."""
    return judge_loss(run, "value_loss", fail_on=fail_on)


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
