"""The outcome of one check on one run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rlhf_assert.detect.anomaly import Anomaly


class Status(StrEnum):
    """What a check came to. Missing is not healthy: only PASS and FAIL judge."""

    PASS = "pass"
    FAIL = "fail"
    SKIPPED = "skipped"
    INSUFFICIENT = "insufficient"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The outcome of one check on one run: what a diagnosis prints.

    Attributes:
        name: the check, for example `kl`.
        status: see `Status`.
        headline: the first line of the diagnosis: metric, what, onset, value, limit; for SKIPPED and INSUFFICIENT the
            reason.
        metrics: canonical metrics whose curves show it, the main one first.
        anomalies: what the detectors found in those metrics, by onset.
        evidence: short lines of numbers.
        cause: the likely cause; empty where none is known.
        ruled_out: (cause, why the run's own data excludes it).
        remedy: what to try, in order.
        samples: per-sample lines that show it.
        note: a few words for the one-line summary of a pass, for example `limit 1.00`.
        override: the call that accepts the finding, where accepting it can be right.
    """

    name: str
    status: Status
    headline: str
    metrics: tuple[str, ...] = ()
    anomalies: tuple[Anomaly, ...] = ()
    evidence: tuple[str, ...] = ()
    cause: str = ""
    ruled_out: tuple[tuple[str, str], ...] = ()
    remedy: tuple[str, ...] = ()
    samples: tuple[str, ...] = ()
    note: str = ""
    override: str = ""
