"""Putting every hypothesis to a failed check."""

from __future__ import annotations

from dataclasses import replace

from rlhf_assert.causes.broken_reward import constant_reward, nonfinite_reward, wrong_normalization
from rlhf_assert.causes.critic_scale import value_scale
from rlhf_assert.causes.hypothesis import Hypothesis, RuledOut, lead
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
from rlhf_assert.checked import Cause, Check, Status
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
    """Return a failed check with its cause, what the run's own data rules out, and what to try.

    The cause is the first hypothesis that holds, in the order of `HYPOTHESES`; else what the check itself suspects;
    else what the detector that fired knows of its phenomenon, as a possibility. A check that passed, or that has a
    cause already, comes back as it is.
    """
    if check.status is not Status.FAIL or check.cause:
        return check
    answers = [answer for hypothesis in HYPOTHESES if (answer := hypothesis(run, check)) is not None]
    ruled_out = tuple((answer.cause, answer.reason) for answer in answers if isinstance(answer, RuledOut))
    causes = (answer for answer in answers if isinstance(answer, Cause))
    cause = next(causes, None) or check.suspicion or _of_the_phenomenon(check)
    return replace(check, cause=cause, remedy=_remedy(check, cause), ruled_out=ruled_out)


def _of_the_phenomenon(check: Check) -> Cause | None:
    first = lead(check)
    return Cause(" or ".join(first.causes[:2]), "possible") if first and first.causes else None


def _remedy(check: Check, cause: Cause | None) -> tuple[str, ...]:
    first = lead(check)
    own = check.remedy or ((first.remedy,) if first and first.remedy else ())
    return (cause.remedy if cause else ()) or own
