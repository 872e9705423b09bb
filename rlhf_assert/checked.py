"""What a check came to on one run: its status, its diagnosis, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Any, Literal

from rlhf_assert.detect.anomaly import Anomaly, decode_anomaly, encode_anomaly
from rlhf_assert.recording.encoding import encode

Certainty = Literal["certain", "likely", "possible"]
"""`certain`: read off the run exactly. `likely`: inferred from the run's data. `possible`: what such an anomaly often
comes from; the run's data does not say."""

_BEFORE: dict[Certainty, str] = {"certain": "", "likely": "likely: ", "possible": "possibly "}


class Status(StrEnum):
    """What a check came to. Missing is not healthy: only PASS and FAIL judge.

    SKIPPED: its input was not recorded. INSUFFICIENT: there is too little of it. ERROR: the check itself raised.
    """

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    SKIPPED = "skipped"
    INSUFFICIENT = "insufficient"
    ERROR = "error"


class Concern(Enum):
    """What a check looks at. A hypothesis about a cause explains only checks that look at what the cause touches."""

    ENDING = auto()  # how the training ended
    RECORD = auto()  # what was recorded
    MACHINE = auto()  # memory and pace
    PROCESSES = auto()  # actors and engines
    WEIGHTS = auto()  # whether the weights move
    UPDATES = auto()  # what each update of the weights changes
    STANDSTILL = auto()  # whether anything is learnt
    SIGNAL = auto()  # what the rewards turn into: losses and gradients
    REWARDS = auto()  # what is computed from rewards
    CRITIC = auto()  # what a critic out of scale spoils
    DISTANCE = auto()  # the policy's distance to its reference
    REFERENCE = auto()  # what is measured against the reference from step 1 on
    RATIO = auto()  # what an importance ratio enters
    SAMPLING = auto()  # what generates the completions
    OBJECTIVE = auto()  # the coefficients of the objective


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a check failed.

    Attributes:
        text: a clause. It is the same for every check that the cause explains, so that one cause is counted once.
        certainty: how sure it is; see `Certainty`.
        evidence: short lines of numbers that point to it.
        remedy: what to try, in order, with values.
    """

    text: str
    certainty: Certainty = "likely"
    evidence: tuple[str, ...] = ()
    remedy: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return what a diagnosis prints: the clause, after how sure it is."""
        return _BEFORE[self.certainty] + self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The outcome of one check on one run: what a diagnosis prints.

    Attributes:
        name: the check, for example `kl`; a check's own judge leaves it empty, and its spec fills it in.
        status: see `Status`.
        headline: the first line of the diagnosis: metric, what, onset, value, limit. For a check that did not judge,
            the reason.
        metrics: canonical metrics whose curves show it, the main one first.
        anomalies: what the detectors found in those metrics, by onset.
        evidence: short lines of numbers.
        cause: why it failed; None where no cause is known.
        suspicion: the cause that the check itself suspects, for a run whose data shows none.
        ruled_out: (cause, why the run's own data excludes it).
        remedy: what to try, in order.
        samples: per-sample lines that show it.
        note: a few words for the one-line summary of a pass, for example `limit 1.00`.
        override: the call that accepts the finding, where accepting it can be right.
        concerns: what the check looks at; its spec fills it in.
    """

    name: str = ""
    status: Status
    headline: str
    metrics: tuple[str, ...] = ()
    anomalies: tuple[Anomaly, ...] = ()
    evidence: tuple[str, ...] = ()
    cause: Cause | None = None
    suspicion: Cause | None = None
    ruled_out: tuple[tuple[str, str], ...] = ()
    remedy: tuple[str, ...] = ()
    samples: tuple[str, ...] = ()
    note: str = ""
    override: str = ""
    concerns: frozenset[Concern] = frozenset()


def encode_check(check: Check) -> dict[str, Any]:
    """Return the JSON form of a check, as `checks.jsonl` has it; non-finite numbers are text."""
    encoded: dict[str, Any] = encode(
        {
            "name": check.name,
            "status": check.status.value,
            "headline": check.headline,
            "metrics": check.metrics,
            "anomalies": [encode_anomaly(anomaly) for anomaly in check.anomalies],
            "evidence": check.evidence,
            "cause": str(check.cause or ""),
            "certainty": check.cause.certainty if check.cause else None,
            "ruled_out": check.ruled_out,
            "remedy": check.remedy,
            "samples": check.samples,
            "note": check.note,
            "override": check.override,
        }
    )
    return encoded


def decode_check(record: Mapping[str, Any]) -> Check:
    """Return the check of its JSON form."""
    certainty: Certainty | None = record.get("certainty")
    cause = Cause(str(record["cause"]).removeprefix(_BEFORE[certainty]), certainty) if certainty else None
    return Check(
        name=record["name"],
        status=Status(record["status"]),
        headline=record["headline"],
        anomalies=tuple(decode_anomaly(anomaly) for anomaly in record["anomalies"]),
        cause=cause,
        ruled_out=tuple((excluded, why) for excluded, why in record["ruled_out"]),
        note=record["note"],
        override=record["override"],
        metrics=tuple(record["metrics"]),
        evidence=tuple(record["evidence"]),
        remedy=tuple(record["remedy"]),
        samples=tuple(record["samples"]),
    )
