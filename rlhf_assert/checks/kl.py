"""The distance of the policy to the reference."""

from __future__ import annotations

import numpy as np

from rlhf_assert.checked import Check, Concern
from rlhf_assert.checks.registry import check
from rlhf_assert.checks.stating import (
    MIN_ROWS,
    anomalies_of,
    evidence_of,
    failed,
    insufficient,
    passed,
    serious,
    skipped,
)
from rlhf_assert.detect import Anomaly, Severity, scan
from rlhf_assert.detect.detectors.kl_runaway import KLRunaway, kl_limit
from rlhf_assert.detect.settings import settings_of
from rlhf_assert.failures import KLAnomaly
from rlhf_assert.metrics import label
from rlhf_assert.numbers import count, number
from rlhf_assert.recording.run import Run

SUSTAINED_ROWS = 3
"""Single rows above a limit occur in runs that succeed; this many in a row, or the last one, break a limit."""

_METRICS = ("kl_div", "approx_kl")
_RUNAWAY = "kl-runaway"
_WITHOUT_KL = {
    "sft": "sft has no reference to diverge from",
    "reward": "a reward model has no reference to diverge from",
    "dpo": "dpo logs no kl; its loss and margins are judged",
}


def _has_a_kl(run: Run) -> bool:
    """Whether the trainer logs a KL: DPO, reward models and SFT have none, and with beta = 0 GRPO and RLOO neither."""
    return run.algorithm in {"ppo", "grpo", "rloo", "online-dpo", "kto"} and run.config.get("beta") != 0.0


@check(
    name="kl",
    question="Does the policy start on its reference, and stay near it?",
    failure=KLAnomaly,
    order=30,
    concerns=frozenset(
        {
            Concern.DISTANCE,
            Concern.REFERENCE,
            Concern.WEIGHTS,
            Concern.UPDATES,
            Concern.REWARDS,
            Concern.CRITIC,
            Concern.RATIO,
        }
    ),
    needs="kl_div, or approx_kl",
    owns=("kl_div", "approx_kl"),
    options={"kl_limit": "limit"},
    assertion="assert_kl_anomaly_free",
    root_rank=20,
    expected=_has_a_kl,
    finds=frozenset(
        {
            "learning_rate_spike",
            "gradient_noise",
            "gradient_nan",
            "gradient_inf",
            "weights_nan",
            "weights_inf",
            "kl_coefficient_negated",
            "reference_noised",
            "reference_zeroed",
            "rollout_weights_stale",
            "temperature_mismatch",
            "dropout_left_on",
        }
    ),
)
def judge_kl(run: Run, *, limit: float | None = None, fail_on: Severity = Severity.critical) -> Check:
    """Judge the KL divergence to the reference, and, where logged, the one to the old policy.

    Args:
        run: the run.
        limit: the highest sound kl_div in the unit of the run's own log: 3 rows in a row above it, or the last row,
            fail. By default that of the run's settings (check `kl-runaway`), and without one
            1.00 nat per token (times the response length where the log holds sums over the sequence),
            and going above it fails once something else shows that the policy is lost: a KL that rises along with the
            reward is a warning.
        fail_on: the severity from which an anomaly fails the check.
    """
    recorded = [metric for metric in _METRICS if metric in run.series]
    if not recorded:
        return skipped(_why_missing(run), _METRICS)
    bound = _default_limit(run) if limit is None else limit
    note = f"limit {bound:.2f}" if bound is not None else _why_no_limit(run)
    anomalies = _signs(run, recorded, limit)
    failing = serious(anomalies, fail_on)
    if failing:
        lead = failing[0]
        drawn = [lead.metric, *(metric for metric in (*recorded, "entropy") if metric != lead.metric)]
        return failed(
            _headline(run, lead),
            anomalies=anomalies,
            metrics=[metric for metric in drawn if metric in run.series],
            evidence=_evidence(run, failing, bound),
        )
    series = run[recorded[0]].finite
    if len(series) < MIN_ROWS:
        return insufficient(f"{count(len(series), 'row')} of kl, a judgement takes {MIN_ROWS}", recorded, anomalies)
    return passed(f"kl {number(series.first)} → {number(series.last)}, {note}", recorded, anomalies, note)


def _signs(run: Run, recorded: list[str], limit: float | None) -> list[Anomaly]:
    anomalies = list(anomalies_of(run, recorded))
    if limit is None:
        return anomalies
    # The default detectors know the default limit only.
    anomalies = [anomaly for anomaly in anomalies if anomaly.kind != _RUNAWAY]
    detector = KLRunaway(run.algorithm, run.config, limit=limit)
    runaway = list(scan(run.rows, [detector]))
    return [*anomalies, *runaway, *_broken(run, limit, runaway)]


def _broken(run: Run, limit: float, runaway: list[Anomaly]) -> list[Anomaly]:
    """Return the anomaly of a kl_div that stays, or ends, above the limit that was given."""
    series = run.series.get("kl_div")
    if series is None:
        return []
    kl = series.finite
    start = _start_of_stay(kl.values > limit)
    if start is None:
        return []
    onset = min((anomaly.onset for anomaly in runaway), default=int(kl.steps[start]))
    return [
        Anomaly(
            kind="kl-limit",
            metric="kl_div",
            severity=Severity.critical,
            onset=onset,
            summary=f"above its limit of {number(limit)} from step {kl.steps[start]}: {number(kl.last)} at "
            f"step {kl.steps[-1]}",
            evidence={"limit": limit, "above_limit_since": int(kl.steps[start])},
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


def _default_limit(run: Run) -> float | None:
    algorithm, settings = run.algorithm, settings_of(run.info)
    if algorithm == "kto" or not settings.wants(_RUNAWAY):
        return None
    return settings.threshold(_RUNAWAY) or kl_limit(run.rows[-1].metrics, algorithm, run.config)


def _why_no_limit(run: Run) -> str:
    if not settings_of(run.info).wants(_RUNAWAY):
        return f"no limit: {_RUNAWAY} is off in the run's settings"
    return "no limit: kl is a sum over an unknown length"


def _headline(run: Run, lead: Anomaly) -> str:
    if lead.kind != _RUNAWAY:
        return f"{label(lead.metric)} {lead.summary}"
    kl = run["kl_div"].finite
    limit = float(lead.evidence["limit"])
    return f"kl runaway from step {lead.onset}: {number(kl.last)} at step {kl.steps[-1]}, limit {limit:.2f}"


def _evidence(run: Run, failing: list[Anomaly], bound: float | None) -> list[str]:
    lines = [line for anomaly in failing if anomaly.kind == _RUNAWAY for line in _growth(anomaly)]
    if (
        bound is not None
        and "kl_div" in run.series
        and any("above_limit_since" in anomaly.evidence for anomaly in failing)
    ):
        kl = run["kl_div"].finite
        since = next(
            anomaly.evidence["above_limit_since"] for anomaly in failing if "above_limit_since" in anomaly.evidence
        )
        above = int((kl.values > bound).sum())
        lines.append(f"above the limit since step {since}, {above} of {count(len(kl), 'row')}")
    rest = [anomaly for anomaly in failing if "above_limit_since" not in anomaly.evidence]
    return [*lines, *evidence_of(rest)]


def _growth(anomaly: Anomaly) -> list[str]:
    growth = float(anomaly.evidence.get("growth", 1.0))
    lines = []
    if growth > 1.0:
        doubling = number(float(anomaly.evidence["doubling_steps"]))
        lines.append(f"growth from step {anomaly.onset}: x{growth:.2f} a step, doubling every {doubling}")
    if "corroboration" in anomaly.evidence:
        lines.append(f"beside it: {anomaly.evidence['corroboration']}")
    return lines


def _why_missing(run: Run) -> str:
    algorithm = run.algorithm
    if algorithm in _WITHOUT_KL:
        return _WITHOUT_KL[algorithm]
    if run.config.get("beta") == 0:
        return f"beta = 0: {algorithm or 'the trainer'} logs no kl"
    return "the run logged no kl_div"
