"""How a check states its outcome: `passed`, `failed`, `skipped` or `insufficient`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rlhf_assert.checked import Cause, Check, Status
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.facts.detected import anomalies_in, by_onset
from rlhf_assert.metrics import label
from rlhf_assert.numbers import number
from rlhf_assert.recording.run import Run

MIN_ROWS = 5
"""Fewer rows of a metric show no more than the identities of the first step do: INSUFFICIENT."""

STANDSTILL = frozenset({"no-update", "no-gradient"})
"""Kinds that mean that nothing trains. Whatever metric shows it, the gradient check judges it: a kl of exactly 0 is no
fault of the kl."""


def anomalies_of(run: Run, metrics: Iterable[str]) -> tuple[Anomaly, ...]:
    """Return what the detectors find in these metrics, by onset, standstill left out."""
    wanted = set(metrics)
    return tuple(each for each in anomalies_in(run) if each.metric in wanted and each.kind not in STANDSTILL)


def serious(anomalies: Iterable[Anomaly], fail_on: Severity) -> list[Anomaly]:
    """Return the anomalies that fail a check, by onset, the gravest of one step first."""
    return sorted((anomaly for anomaly in anomalies if anomaly.severity >= fail_on), key=by_onset)


def skipped(reason: str, metrics: Sequence[str] = ()) -> Check:
    """Return a check that did not judge because its input was not recorded."""
    return Check(status=Status.SKIPPED, headline=reason, metrics=tuple(metrics))


def insufficient(reason: str, metrics: Sequence[str] = (), anomalies: Sequence[Anomaly] = ()) -> Check:
    """Return a check that did not judge because there was too little."""
    return Check(status=Status.INSUFFICIENT, headline=reason, metrics=tuple(metrics), anomalies=tuple(anomalies))


def passed(headline: str, metrics: Sequence[str] = (), anomalies: Sequence[Anomaly] = (), note: str = "") -> Check:
    """Return a check that found nothing to fail on; `anomalies` are its warnings."""
    return Check(status=Status.PASS, headline=headline, metrics=tuple(metrics), anomalies=tuple(anomalies), note=note)


def failed(
    headline: str,
    *,
    anomalies: Sequence[Anomaly] = (),
    metrics: Sequence[str] = (),
    evidence: Sequence[str] = (),
    cause: Cause | None = None,
    suspicion: Cause | None = None,
    remedy: Sequence[str] = (),
    samples: Sequence[str] = (),
    override: str = "",
) -> Check:
    """Return a failed check; the verdict explains it by the run's own data.

    Args:
        headline: the first line of the diagnosis.
        anomalies: all that was found; the earliest that fails is the check's first sign.
        metrics: the metrics whose curves show it.
        evidence: lines of numbers.
        cause: why it failed, where the check knows it.
        suspicion: the cause that it suspects, for a run whose data shows none.
        remedy: what to try where no cause is known.
        samples: per-sample lines that show it.
        override: the call that accepts the finding.
    """
    return Check(
        status=Status.FAIL,
        headline=headline,
        metrics=tuple(metrics),
        anomalies=tuple(sorted(anomalies, key=by_onset)),
        evidence=tuple(evidence),
        cause=cause,
        suspicion=suspicion,
        remedy=tuple(remedy),
        samples=tuple(samples),
        override=override,
    )


def evidence_of(anomalies: Iterable[Anomaly]) -> tuple[str, ...]:
    """Return the numbers behind anomalies, a line each; the first is the headline's, and is not told again."""
    lines = []
    for index, anomaly in enumerate(anomalies):
        numbers = ", ".join(f"{name.replace('_', ' ')} {_text(value)}" for name, value in anomaly.evidence.items())
        parts = ([f"{label(anomaly.metric)} {anomaly.summary}"] if index else []) + ([numbers] if numbers else [])
        lines.append("; ".join(parts))
    return tuple(line for line in dict.fromkeys(lines) if line)


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else number(value)
