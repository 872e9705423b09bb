"""The policy's entropy: neither collapsed nor exploded."""

from __future__ import annotations

from rlhf_assert.checked import Check, Concern
from rlhf_assert.checks.metric_curve import judge_curve
from rlhf_assert.checks.registry import check
from rlhf_assert.checks.spec import of_algorithms
from rlhf_assert.detect import Severity
from rlhf_assert.failures import EntropyAnomaly
from rlhf_assert.recording.run import Run


@check(
    name="entropy",
    question="Does the policy keep a sound entropy?",
    failure=EntropyAnomaly,
    order=50,
    concerns=frozenset({Concern.UPDATES, Concern.CRITIC}),
    needs="entropy",
    owns=("entropy",),
    assertion="assert_entropy_sound",
    finds=frozenset({"learning_rate_spike", "gradient_noise"}),
    expected=of_algorithms("ppo", "grpo", "rloo", "online-dpo", "dpo", "kto", "sft"),
)
def judge_entropy(run: Run, *, fail_on: Severity = Severity.critical) -> Check:
    """Judge the entropy of the policy, in nats.

    Args:
        run: the run.
        fail_on: the severity from which an anomaly fails the check. A fall alone is no fault: a policy that learns
            grows more certain.
    """
    reason = f"{run.info.get('algorithm') or 'the trainer'} logs no entropy"
    return judge_curve(run, "entropy", fail_on=fail_on, missing=reason)
