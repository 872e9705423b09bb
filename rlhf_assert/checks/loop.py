"""Whether the training loop does what it says: what is only seen where the work is done, not in what is logged."""

from __future__ import annotations

from rlhf_assert.checked import Check
from rlhf_assert.checks.data import judge_data
from rlhf_assert.checks.objective import judge_objective
from rlhf_assert.checks.optimizer import judge_optimizer
from rlhf_assert.checks.reference import judge_reference
from rlhf_assert.checks.resume import judge_resume
from rlhf_assert.checks.rollout import judge_rollout
from rlhf_assert.detect import Severity
from rlhf_assert.recording.run import Run


def judge_loop(run: Run, *, fail_on: Severity = Severity.critical) -> tuple[Check, ...]:
    """Return the checks of the optimizer, the objective, the reference, the generation, the data and a resume."""
    return (
        judge_optimizer(run, fail_on=fail_on),
        judge_objective(run),
        judge_reference(run),
        judge_rollout(run, fail_on=fail_on),
        judge_data(run),
        judge_resume(run),
    )
