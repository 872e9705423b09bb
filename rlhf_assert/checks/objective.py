"""What is optimised: the coefficients of its terms are the configured ones."""

from __future__ import annotations

from rlhf_assert.checked import Check, Concern
from rlhf_assert.checks.registry import check
from rlhf_assert.checks.stating import failed, passed, skipped
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.facts.coefficients import ChangedCoefficient, changed_coefficients, coefficients
from rlhf_assert.failures import LoopUnsound
from rlhf_assert.numbers import number, setting
from rlhf_assert.recording.run import Run


@check(
    name="objective",
    question="Are the coefficients of the objective the configured ones?",
    failure=LoopUnsound,
    order=110,
    needs="loss and its parts, or samples with advantages, per step",
    concerns=frozenset({Concern.OBJECTIVE}),
    assertion="assert_loop_sound",
    of_the_loop=True,
    finds=frozenset({"kl_coefficient_wrong", "kl_coefficient_negated", "value_coefficient_wrong"}),
)
def judge_objective(run: Run) -> Check:
    """Judge the coefficients that were used by what they multiply, where a run recorded both.

    Identities, exact to rounding in trl 1.12: PPO and OnlineDPO log the KL and its penalty; in PPO the loss is
    policy_loss + vf_coef * value_loss; in GRPO (token-averaged and on-policy) it is -sum(A n) / sum(n) + beta * kl over
    completions with advantage A and n tokens; in RLOO the advantage is the lead of reward - beta * kl in its group; in
    DPO and KTO the reward of an answer is beta times its log-ratio to the reference. In openrlhf 0.11.2, with the mean
    of a group as baseline, the mean return is -beta times the mean sum of log-ratios (its estimator k1).
    """
    known = coefficients(run)
    if not known:
        return skipped("the run does not record what would show its coefficients")
    anomalies = [_anomaly(changed) for changed in changed_coefficients(run)]
    if anomalies:
        lead = min(anomalies, key=lambda anomaly: anomaly.onset)
        return failed(
            f"objective {lead.summary}",
            anomalies=anomalies,
            metrics=[name for name in ("loss", "policy_loss", "value_loss", "kl_div") if name in run.series][:3],
            remedy=("look for what changes the coefficient after the trainer was built, and for its sign",),
        )
    return passed(", ".join(f"{each.name} is {setting(each.configured)}" for each in known))


def _anomaly(changed: ChangedCoefficient) -> Anomaly:
    return Anomaly(
        kind="coefficient",
        metric="loss",
        severity=Severity.critical,
        onset=changed.step,
        summary=f"has {changed.name} {number(changed.used)} from step {changed.step} on, configured is "
        f"{setting(changed.configured)}",
        evidence={"implied": changed.used, "configured": changed.configured},
        causes=(f"{changed.name} was changed after the trainer was configured",),
    )
