"""The distance of the policy to the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlhf_assert.check import Check
from rlhf_assert.checks.outcome import (
    MIN_ROWS,
    anomalies_of,
    evidence_of,
    failed,
    insufficient,
    passed,
    serious,
    skipped,
)
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.metrics import label
from rlhf_assert.numbers import count, number
from rlhf_assert.run import Run
from rlhf_assert.series import Series

NAME = "kl"
TOKEN_LIMIT = 1.0
"""Nats per token: a policy this far from its reference gives its own tokens e times the reference's probability."""

SUSTAINED_ROWS = 3
"""Single rows above a limit occur in runs that succeed; this many in a row, or the last one, do not."""

SEQUENCE_SUMS = frozenset({"objective/kl"})
"""Original keys whose value is a sum over the sequence, not a mean per token (TRL: PPO and OnlineDPO)."""

_METRICS = ("kl_div", "approx_kl")
_WITHOUT_KL = {
    "sft": "sft has no reference to diverge from",
    "reward": "a reward model has no reference to diverge from",
    "dpo": "dpo logs no kl; its loss and margins are judged",
}


@dataclass(frozen=True, slots=True)
class Limit:
    """The limit on kl_div.

    Attributes:
        value: in the unit in which the run logs kl_div; None where there is none.
        text: for people, for example `limit 1.00`.
    """

    value: float | None
    text: str


def judge_kl(run: Run, *, limit: float | None = None, fail_on: Severity = Severity.critical) -> Check:
    """Judge the KL divergence to the reference (and, where logged, the one to the old policy).

    Args:
        run: the run.
        limit: the highest sound kl_div in the unit of the run's own log; by default 1.00 nat per token, times the
            mean response length where the log holds sums over the sequence (PPO, OnlineDPO).
        fail_on: the severity from which an anomaly fails the check.
    """
    if "kl_div" not in run.series and "approx_kl" not in run.series:
        return skipped(NAME, _why_missing(run), _METRICS)
    recorded = [metric for metric in _METRICS if metric in run.series]
    bound = _limit(run, limit)
    found = [*anomalies_of(run, recorded), *_above(run, bound)]
    failing = serious(found, fail_on)
    if failing:
        lead = failing[0]
        crossing = next((sign for sign in failing if sign.kind == "kl-limit"), None)
        drawn = [lead.metric, *(metric for metric in (*recorded, "entropy") if metric != lead.metric)]
        return failed(
            run,
            NAME,
            _headline(run, lead, crossing, bound),
            anomalies=found,
            metrics=[metric for metric in drawn if metric in run.series],
            evidence=evidence_of(failing),
            override=f"assert_kl_anomaly_free(limit={number(_peak(run) * 1.1)})" if lead is crossing else "",
        )
    series = run[recorded[0]].finite
    if len(series) < MIN_ROWS:
        return insufficient(NAME, f"{count(len(series), 'row')} of kl, a judgement takes {MIN_ROWS}", recorded, found)
    return passed(NAME, f"kl {number(series.first)} → {number(series.last)}, {bound.text}", recorded, found, bound.text)


def _headline(run: Run, lead: Anomaly, crossing: Anomaly | None, bound: Limit) -> str:
    if lead.kind == "kl-runaway" and crossing is not None:
        kl = run["kl_div"].finite
        return f"kl runaway from step {lead.onset}: {number(kl.last)} at step {kl.steps[-1]}, {bound.text}"
    return f"{label(lead.metric)} {lead.summary}"


def _limit(run: Run, limit: float | None) -> Limit:
    if limit is not None:
        return Limit(limit, f"limit {number(limit)}")
    if not SEQUENCE_SUMS & run.original.keys():
        return Limit(TOKEN_LIMIT, f"limit {number(TOKEN_LIMIT)}")
    length = mean_length(run)
    if length is None:
        return Limit(None, "no limit: kl is a sum over the sequence, and no response length was recorded")
    return Limit(TOKEN_LIMIT * length, f"limit {number(TOKEN_LIMIT * length)} a sequence")


def mean_length(run: Run) -> float | None:
    """Return the mean response length in tokens, from the samples or the log; None if neither tells."""
    series = run.series.get("response_length")
    for values in (run.samples.length, series.values if series is not None else None):
        if values is not None and np.isfinite(values).any():
            return float(np.nanmean(np.where(np.isfinite(values), values, np.nan)))
    return None


def _above(run: Run, bound: Limit) -> list[Anomaly]:
    """Return the anomaly of a kl_div that stays, or ends, above its limit."""
    series = run.series.get("kl_div")
    if bound.value is None or series is None or not len(series.finite):
        return []
    kl = series.finite
    above = kl.values > bound.value
    start = _start_of_stay(above)
    if start is None:
        return []
    until = "" if start == len(kl) - 1 else f", {number(kl.last)} at step {kl.steps[-1]}"
    return [
        Anomaly(
            kind="kl-limit",
            metric="kl_div",
            severity=Severity.critical,
            onset=int(kl.steps[start]),
            summary=f"above {bound.text} from step {kl.steps[start]}: {number(_reached(kl, start))}{until}",
            evidence={"rows above": int(above.sum()), "of": len(kl), "peak": float(kl.values.max())},
        )
    ]


def _start_of_stay(above: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> int | None:
    """Return where the first stay above begins: `SUSTAINED_ROWS` rows, or fewer at the very end."""
    begun = 0
    for index, high in enumerate([*above, False]):
        if high:
            continue
        if index - begun >= SUSTAINED_ROWS or (index == len(above) and index > begun):
            return begun
        begun = index + 1
    return None


def _reached(kl: Series, start: int) -> float:
    return float(kl.values[start])


def _peak(run: Run) -> float:
    return float(run["kl_div"].finite.values.max())


def _why_missing(run: Run) -> str:
    algorithm = str(run.info.get("algorithm") or "")
    if algorithm in _WITHOUT_KL:
        return _WITHOUT_KL[algorithm]
    if run.config.get("beta") == 0:
        return f"beta = 0: {algorithm.upper() or 'the trainer'} logs no kl"
    return "the run logged no kl_div"
