"""Putting every hypothesis to a failed check."""

from __future__ import annotations

from dataclasses import replace

from rlhf_assert.causes.broken_reward import constant_reward, nonfinite_reward, wrong_normalization
from rlhf_assert.causes.critic_scale import value_scale
from rlhf_assert.causes.hypothesis import Hypothesis, Likely, RuledOut, lead
from rlhf_assert.causes.lost_process import lost_process
from rlhf_assert.causes.raised import died, raised, went_nonfinite
from rlhf_assert.causes.updates import destructive_learning_rate, frozen_weights, misapplied_rate, zero_learning_rate
from rlhf_assert.causes.wrong_reference import (
    another_reference,
    changed_coefficient,
    moved_reference,
    no_pull,
    out_of_sync,
    sampler_differs,
)
from rlhf_assert.check import Check, Status
from rlhf_assert.recording.run import Run

HYPOTHESES: tuple[Hypothesis, ...] = (
    lost_process,
    died,
    raised,
    wrong_normalization,
    nonfinite_reward,
    constant_reward,
    misapplied_rate,
    changed_coefficient,
    sampler_differs,
    zero_learning_rate,
    frozen_weights,
    another_reference,
    moved_reference,
    destructive_learning_rate,
    no_pull,
    value_scale,
    out_of_sync,
    went_nonfinite,
)
"""The most specific first: what is read off the run exactly comes before what is inferred from a scale."""


def explain(run: Run, check: Check) -> Check:
    """Return a failed check with its likely cause, what the run's own data rules out, and what to try.

    A check that did not fail, or that has a cause already, comes back as it is. Where no hypothesis holds, the cause
    is what the detector that fired knows of its phenomenon, marked as a possibility.
    """
    if check.status is not Status.FAIL or check.cause:
        return check
    findings = [finding for hypothesis in HYPOTHESES if (finding := hypothesis(run, check)) is not None]
    likely = next((finding for finding in findings if isinstance(finding, Likely)), None)
    ruled_out = tuple((finding.cause, finding.reason) for finding in findings if isinstance(finding, RuledOut))
    if likely is not None:
        cause = likely.cause if likely.certain else f"likely: {likely.cause}"
        return replace(check, cause=cause, remedy=likely.remedy or check.remedy, ruled_out=ruled_out)
    first = lead(check)
    if first is None:
        return replace(check, ruled_out=ruled_out)
    cause = f"possibly {' or '.join(first.causes[:2])}" if first.causes else ""
    remedy = check.remedy or ((first.remedy,) if first.remedy else ())
    return replace(check, cause=cause, remedy=remedy, ruled_out=ruled_out)
