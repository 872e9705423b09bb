"""What a hypothesis comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rlhf_assert.check import Check
from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.recording.run import Run


@dataclass(frozen=True, slots=True)
class Likely:
    """The run's data points to this cause.

    Attributes:
        cause: a clause; the same for every check that it explains, so that one cause is counted once.
        remedy: what to try, in order, with values.
        certain: whether it is read off the run exactly, and not inferred.
    """

    cause: str
    remedy: tuple[str, ...] = ()
    certain: bool = False


@dataclass(frozen=True, slots=True)
class RuledOut:
    """The run's data excludes this cause.

    Attributes:
        cause: a few words.
        reason: the data that excludes it.
    """

    cause: str
    reason: str


Finding = Likely | RuledOut
Hypothesis = Callable[[Run, Check], Finding | None]


def lead(check: Check) -> Anomaly | None:
    """Return the first sign of a failed check: its earliest anomaly of the gravest kind that it has."""
    worst = max((found.severity for found in check.anomalies), default=Severity.info)
    return min((found for found in check.anomalies if found.severity == worst), key=lambda it: it.onset, default=None)


def onset(check: Check) -> int | None:
    """Return the step of the first sign of a failed check, or None if it has none."""
    found = lead(check)
    return found.onset if found else None


def at_first_step(check: Check) -> bool:
    """Whether the check failed on an identity of the first step, which no update can have broken."""
    found = lead(check)
    return found is not None and found.kind in {"step-one-kl", "step-one-loss"}
