"""What a hypothesis is: it looks at a run and a failed check, and says why the check failed, or what cannot be why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rlhf_assert.checked import Cause, Check, Concern
from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.recording.run import Run


@dataclass(frozen=True, slots=True)
class RuledOut:
    """The run's data excludes this cause.

    Attributes:
        cause: a few words.
        reason: the data that excludes it.
    """

    cause: str
    reason: str


Hypothesis = Callable[[Run, Check], Cause | RuledOut | None]
"""Returns the cause, or that the run's data excludes it, or None where the data is silent."""


def lead(check: Check) -> Anomaly | None:
    """Return the first sign of a failed check: its earliest anomaly of the gravest kind that it has."""
    worst = max((anomaly.severity for anomaly in check.anomalies), default=Severity.info)
    gravest = [anomaly for anomaly in check.anomalies if anomaly.severity == worst]
    return min(gravest, key=lambda anomaly: anomaly.onset, default=None)


def onset(check: Check) -> int | None:
    """Return the step of the first sign of a failed check, or None if it has none."""
    first = lead(check)
    return first.onset if first else None


def at_first_step(check: Check) -> bool:
    """Whether the check failed on an identity of the first step, which no update can have broken."""
    first = lead(check)
    return first is not None and first.kind in {"step-one-kl", "step-one-loss"}


def about(check: Check, *concerns: Concern) -> bool:
    """Whether a check looks at one of these."""
    return not check.concerns.isdisjoint(concerns)


def about_training(check: Check) -> bool:
    """Whether a check looks at what training does to the numbers, and not at the machine or the record."""
    return not about(check, Concern.MACHINE, Concern.RECORD)


def about_the_end(run: Run, check: Check) -> bool:
    """Whether a check looks at how the training ended; a record without a row is a sign of that, too."""
    return about(check, Concern.ENDING) or (about(check, Concern.RECORD) and not run.rows)
