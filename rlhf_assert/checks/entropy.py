"""The policy's entropy: neither collapsed nor exploded."""

from __future__ import annotations

from rlhf_assert.check import Check
from rlhf_assert.checks.metric_curve import judge_curve
from rlhf_assert.detect import Severity
from rlhf_assert.recording.run import Run


def judge_entropy(run: Run, *, fail_on: Severity = Severity.critical) -> Check:
    """Judge the entropy of the policy, in nats.

    Args:
        run: the run.
        fail_on: the severity from which an anomaly fails the check. A fall alone is no fault: a policy that learns
            grows more certain.
    """
    reason = f"{run.info.get('algorithm') or 'the trainer'} logs no entropy"
    return judge_curve(run, "entropy", fail_on=fail_on, missing=reason)
