"""What only a system of many processes has: engines that generate, and actors that can die, stall or stand idle."""

from __future__ import annotations

from rlhf_assert.checked import Check
from rlhf_assert.checks.actors import judge_actors
from rlhf_assert.checks.engine import judge_engine
from rlhf_assert.detect import Severity
from rlhf_assert.recording.run import Run


def judge_system(run: Run, *, fail_on: Severity = Severity.critical) -> tuple[Check, ...]:
    """Return the checks of the actors and of the engines."""
    return (judge_actors(run, fail_on=fail_on), judge_engine(run, fail_on=fail_on))
