"""What a detector reports, and what a detector is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

from rlhf_assert.recording.encoding import encode
from rlhf_assert.recording.events import AnomalyFound


class Severity(IntEnum):
    """How much an anomaly matters, by its consequence and not by its size.

    `critical` means that the run is not worth its compute from the onset on; a one-step spike that recovers is at
    most a `warning`.
    """

    info = 0
    warning = 1
    critical = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """Something that healthy runs never do, or seldom.

    Attributes:
        kind: the phenomenon in kebab-case, for example `non-finite`.
        metric: canonical name of the metric that shows it.
        severity: see `Severity`.
        onset: the first step that shows it.
        summary: one clause without the metric's name, for example `not finite at step 41`.
        evidence: the numbers behind it, by name.
        causes: likely causes, the likeliest first.
        remedy: what to try, in one sentence.
        detector: name of the detector that reported it, filled in where rows are fed to detectors. Two anomalies that
            differ in nothing else are equal.
    """

    kind: str
    metric: str
    severity: Severity
    onset: int
    summary: str
    evidence: Mapping[str, float | int | str] = field(default_factory=dict)
    causes: tuple[str, ...] = ()
    remedy: str = ""
    detector: str = field(default="", compare=False)


class Detector(Protocol):
    """A streaming detector for one run. It sees each row once, in order, so it cannot look ahead.

    `metrics` holds the canonical metrics of one row as floats. NaN and infinities are among them, and None where the
    framework logged null. A detector reports an anomaly once, when it finds it, and not again at later rows. A detector
    that raises, or that reports anything but an `Anomaly`, is switched off and named.

    Two members are optional, and save time:

    - `finished: bool`, a property: no later row can make it report, so it gets no more rows.
    - `absorb(block: rlhf_assert.recording.rows.Block) -> bool`: take many rows at once. If `update` would report
      nothing in any of them, it takes them all and returns True. Otherwise it changes nothing and returns False, and
      the rows come through `update`. Either way the detector must afterwards report what it would have reported row
      by row. A block holds finite values only, and no metric for the first time.
    """

    @property
    def name(self) -> str:
        """Name for configuration and reports, in kebab-case."""

    def update(self, step: int, metrics: Mapping[str, float | None]) -> Iterable[Anomaly]:
        """Take one row and return what it completes."""


def encode_anomaly(anomaly: Anomaly) -> dict[str, Any]:
    """Return the JSON form of an anomaly: the severity by name, non-finite numbers as text, its detector if known."""
    fields = {name: getattr(anomaly, name) for name in Anomaly.__dataclass_fields__}
    if not anomaly.detector:
        del fields["detector"]
    encoded: dict[str, Any] = encode({**fields, "severity": anomaly.severity.name})
    return encoded


def anomaly_found(step: int, anomaly: Anomaly) -> AnomalyFound:
    """Return the event that a detector found an anomaly in the row of a step."""
    fields = {name: getattr(anomaly, name) for name in Anomaly.__dataclass_fields__}
    return AnomalyFound(
        step=step, **{**fields, "severity": anomaly.severity.name, "detector": anomaly.detector or None}
    )


def decode_anomaly(record: Mapping[str, Any]) -> Anomaly:
    """Return the anomaly of its JSON form."""
    fields = {name: record[name] for name in Anomaly.__dataclass_fields__ if name != "detector"}
    fields["detector"] = record.get("detector", "")
    fields["severity"] = Severity[fields["severity"]]
    fields["causes"] = tuple(fields["causes"])
    return Anomaly(**fields)
