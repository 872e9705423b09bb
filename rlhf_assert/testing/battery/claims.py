"""What a detector claims about itself, and the logs on which the claims are tried."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from hypothesis.strategies import SearchStrategy

from rlhf_assert.detect.anomaly import Severity
from rlhf_assert.testing.battery.feeding import Make
from rlhf_assert.testing.synthetic import Anomalous, Log

Invariance = Literal["affine", "scale", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finds:
    """What a detector finds, and how surely.

    Attributes:
        logs: logs with an anomaly; the one that was planted first is to be found.
        power: share of these logs in which it is found.
        delay: rows after the first anomalous one within which it is reported.
        severity: least severity that counts as a find.
        onset_within: rows that the reported onset may lie from the planted one; None if that is not to be judged.
    """

    logs: SearchStrategy[Anomalous]
    power: float = 0.9
    delay: int = 10
    severity: Severity = Severity.info
    onset_within: int | None = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """A detector, what it claims (see `check_detector`), and the logs on which that is tried.

    Attributes:
        planted: for each of `finds`, the logs that were drawn.
        calm: for each of `healthy`, the logs that were drawn.
        metrics: in which something is planted, in order of appearance.
    """

    make: Make
    finds: tuple[Finds, ...]
    planted: tuple[tuple[Anomalous, ...], ...]
    healthy: tuple[SearchStrategy[Log], ...]
    calm: tuple[tuple[Log, ...], ...]
    metrics: tuple[str, ...]
    false_alarms: float
    severity: Severity
    invariance: Invariance
    fires_on_constants: bool
    examples: int


def planted_metrics(drawn: Iterable[Iterable[Anomalous]]) -> tuple[str, ...]:
    """Return the metrics in which something was planted, in order of appearance."""
    return tuple(
        dict.fromkeys(planted.metric for logs in drawn for one in logs for planted in one.planted if planted.metric)
    )
