"""The outcome of one check on one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rlhf_assert.detect.anomaly import Anomaly, decode_anomaly, encode_anomaly
from rlhf_assert.recording.recorder import encode


class Status(StrEnum):
    """What a check came to. Missing is not healthy: only PASS and FAIL judge."""

    PASS = "pass"  # noqa: S105
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


def encode_check(check: Check) -> dict[str, Any]:
    """Return the JSON form of a check, non-finite numbers as text."""
    fields = {name: getattr(check, name) for name in Check.__dataclass_fields__}
    encoded: dict[str, Any] = encode({**fields, "anomalies": [encode_anomaly(found) for found in check.anomalies]})
    return encoded


def decode_check(record: Mapping[str, Any]) -> Check:
    """Return the check of its JSON form."""
    fields = {name: record[name] for name in Check.__dataclass_fields__}
    for name, value in fields.items():
        if isinstance(value, list):
            fields[name] = tuple(tuple(item) if isinstance(item, list) else item for item in value)
    fields["status"] = Status(fields["status"])
    fields["anomalies"] = tuple(decode_anomaly(found) for found in record["anomalies"])
    return Check(**fields)
