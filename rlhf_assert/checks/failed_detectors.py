"""Detectors that failed to judge the run: their silence is no sign of health."""

from __future__ import annotations

from rlhf_assert.checked import Check, Concern, Status
from rlhf_assert.checks.registry import check
from rlhf_assert.facts.detected import failed_detectors
from rlhf_assert.recording.run import Run


def _any_failed(run: Run) -> bool:
    return bool(failed_detectors(run))


@check(
    name="detectors",
    question="Could every detector judge?",
    order=230,
    needs="a detector that failed; without one the check is left out",
    applies=_any_failed,
    concerns=frozenset({Concern.RECORD}),
    assertion="assert_other_metrics_sound",
)
def judge_failed_detectors(run: Run) -> Check:
    """Name the detectors that failed to judge, each with its error."""
    failed = "; ".join(f"{name} ({(error.splitlines() or [''])[0]})" for name, error in failed_detectors(run).items())
    return Check(name="detectors", status=Status.ERROR, headline=f"failed to judge: {failed}")
