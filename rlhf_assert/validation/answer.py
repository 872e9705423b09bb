"""A validation's results as one JSON object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rlhf_assert.validation.intervals import Median, Rate
from rlhf_assert.validation.log_score import LogScore
from rlhf_assert.validation.score import FaultScore
from rlhf_assert.validation.scorecard import AblationRow, Summary
from rlhf_assert.validation.signs import Sign


def answer(
    summaries: Sequence[Summary],
    calibration: Sequence[tuple[float, Rate]],
    logs: Sequence[LogScore],
    ablation: Sequence[AblationRow],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the object that `rlhf-assert validate --format json` prints.

    Args:
        summaries: of every contender, ours first.
        calibration: (budget, observed share).
        logs: of faults that were planted in logs.
        ablation: empty where it was not asked for.
        about: the command, the date, the profile, the versions.
    """
    ours, *others = summaries
    faults = [_fault(score) for score in ours.faults]
    controls: list[dict[str, Any]] = [
        {
            "scenario": score.scenario,
            "seed": score.seed,
            "flagged": bool(score.findings),
            "findings": [_sign(sign) for sign in score.findings],
        }
        for score in ours.controls
    ]
    if others:
        for index, entry in enumerate(faults):
            entry["others"] = {other.contender: _found(other.faults[index]) for other in others}
        for index, entry in enumerate(controls):
            entry["others"] = {other.contender: bool(other.controls[index].findings) for other in others}
    return {
        "about": dict(about),
        "faults": faults,
        "controls": controls,
        "summary": {summary.contender: _summary(summary) for summary in summaries},
        "calibration": [{"budget": budget, "observed": _rate(observed)} for budget, observed in calibration],
        "logs": [
            {
                **_log(score),
                "onset": score.onset,
                "detected": bool(score.finders),
                "detector": next(iter(score.finders), None),
                "delay": score.delay,
                "finders": {source: sign.told - score.onset for source, sign in score.finders.items()},
                "misdated": [_sign(sign) for sign in score.misdated],
            }
            for score in logs
        ],
        "ablation": [
            {
                "detector": row.source,
                "not_found": [_training(score) for score in row.lost],
                "found_later": [_training(score) for score in row.later],
                "not_found_or_later_by_rows_alone": [_training(score) for score in row.among_rows],
                "not_found_or_later_in_logs": [_log(score) for score in row.in_logs],
            }
            for row in ablation
        ],
    }


def _training(score: FaultScore) -> dict[str, Any]:
    return {"fault": score.fault.kind, "scenario": score.scenario, "seed": score.seed}


def _log(score: LogScore) -> dict[str, Any]:
    return {"fault": score.fault, "scenario": score.scenario}


def _found(score: FaultScore) -> dict[str, Any]:
    return {
        "detected": score.by is not None,
        "detector": score.by.source if score.by else None,
        "delay": score.delay,
    }


def _fault(score: FaultScore) -> dict[str, Any]:
    return {
        **_training(score),
        **_found(score),
        "onset": score.fault.onset,
        "magnitude": score.fault.magnitude,
        "right": score.right,
        "causes": list(score.causes),
        "by": _sign(score.by) if score.by else None,
        "finders": {source: sign.told - score.fault.onset for source, sign in score.finders.items()},
        "early": [_sign(sign) for sign in score.early],
        "misdated": [_sign(sign) for sign in score.misdated],
    }


def _sign(sign: Sign) -> dict[str, Any]:
    fields = {name: getattr(sign, name) for name in Sign.__dataclass_fields__}
    return {**fields, "severity": sign.severity.name}


def _summary(summary: Summary) -> dict[str, Any]:
    return {
        "recall": _rate(summary.recall),
        "false_alarms": _rate(summary.false_alarms),
        "flagged_before_the_fault": _rate(summary.early),
        "found_by_a_right_check": _rate(summary.right),
        "delay_abrupt": _median(summary.abrupt),
        "delay_gradual": _median(summary.gradual),
    }


def _rate(rate: Rate) -> dict[str, Any]:
    return {"value": rate.value, "hits": rate.hits, "total": rate.total, "interval": [rate.low, rate.high]}


def _median(delay: Median) -> dict[str, Any]:
    return {"value": delay.value, "count": delay.count, "interval": [delay.low, delay.high]}
