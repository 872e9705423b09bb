"""Whether the training learns what its scenario says that it learns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlhf_assert.checked import Check, Concern
from rlhf_assert.checks.registry import check
from rlhf_assert.checks.stating import failed, insufficient, passed, skipped
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.errors import suggest
from rlhf_assert.facts.saved_weights import weights_moved
from rlhf_assert.failures import NotLearning
from rlhf_assert.metrics import METRICS, label
from rlhf_assert.numbers import count, number
from rlhf_assert.recording.run import Run
from rlhf_assert.recording.series import FloatArray

MIN_ROWS = 10
CONFIDENCE = 0.95
RELEVANT = 1.0
"""A gain is relevant from one standard deviation of the rows on: a run whose gain is below it with confidence did not
learn, whatever its trend."""


@dataclass(frozen=True, slots=True)
class Gain:
    """How much better the last third of a run is than the first.

    Attributes:
        value: difference of the means, positive if better.
        low: lower end of its interval.
        high: upper end of its interval.
        spread: standard deviation of the rows within a third.
    """

    value: float
    low: float
    high: float
    spread: float


def _promised(run: Run) -> bool:
    return bool(run.info.get("learns"))


@check(
    name="learning",
    question="Did what the scenario promises to improve end better than it began?",
    failure=NotLearning,
    order=190,
    concerns=frozenset(
        {Concern.WEIGHTS, Concern.UPDATES, Concern.STANDSTILL, Concern.SIGNAL, Concern.REWARDS, Concern.CRITIC}
    ),
    needs="the metric that the scenario learns",
    assertion="assert_learns",
    at_the_end=True,
    expected=_promised,
    not_in_a_log="nobody promised what this training learns",
    finds=frozenset(
        {
            "gradient_noise",
            "reward_random",
            "reward_shuffled",
            "reward_negated",
            "reward_delayed",
            "advantages_negated",
            "kl_coefficient_wrong",
            "kl_coefficient_negated",
        }
    ),
)
def judge_learning(run: Run) -> Check:
    """Judge whether the metric that the scenario promises to improve ended better than it began.

    Passes if the last third of the rows is better than the first with 95 % confidence; fails if no weight moved, or
    if the gain is, with 95 % confidence, less than one standard deviation of the rows; between the two there is too
    little to tell. The interval is Welch's, with the variance inflated for autocorrelated rows.
    """
    metric = run.info.get("learns")
    if not metric:
        return skipped("the scenario promises no learning (learns=... does)")
    if metric not in run.series:
        near = suggest(metric, run.series)
        return _failed(run, metric, f"the run logged no {metric}{near}, which it was to improve", ())
    if weights_moved(run) is False:
        return _failed(run, metric, f"no weight moved in {count(run.steps, 'step')}: nothing was learnt", ())
    values = run[metric].finite.values
    if len(values) < MIN_ROWS:
        lost = len(run[metric]) - len(values)
        if lost > len(values):
            clause = f"{label(metric)} shows no learning: {lost} of its {len(run[metric])} values are not finite"
            return _failed(run, metric, clause, ())
        return insufficient(f"{count(len(values), 'row')} of {metric}, a judgement takes {MIN_ROWS}", (metric,))
    sign = -1.0 if _falls(metric) else 1.0
    gain = measure_gain(sign * values)
    third = len(values) // 3
    means = f"{number(float(values[:third].mean()))} → {number(float(values[-third:].mean()))}"
    interval = f"{int(CONFIDENCE * 100)} % interval of the gain {number(gain.low)} to {number(gain.high)}"
    if gain.low > 0.0:
        return passed(f"{label(metric)} {means}, {interval}", (metric,), note=f"{label(metric)} {means}")
    if gain.value <= 0.0 or gain.high < RELEVANT * gain.spread:
        worse = "got worse" if gain.high < 0.0 else "did not improve"
        return _failed(run, metric, f"{label(metric)} {worse}: {means}, first third to last", (interval,))
    return insufficient(f"{label(metric)} {means}: {interval}, too few steps to tell", (metric,))


def measure_gain(values: FloatArray) -> Gain:
    """Compare the last third of `values`, shape (n,) with n at least 6, with the first; higher is better."""
    from scipy.stats import t  # noqa: PLC0415 - slow to import

    third = len(values) // 3
    before, after = values[:third], values[-third:]
    difference = float(after.mean() - before.mean())
    variances = np.array([before.var(ddof=1), after.var(ddof=1)])
    residuals = np.concatenate([before - before.mean(), after - after.mean()])
    # n correlated rows tell as much as n (1 - r) / (1 + r) independent ones.
    # In few rows the sample's correlation is too low by (1 + 3 r) / n (Kendall 1954, "Note on bias in the estimation of
    # autocorrelation").
    sample = _lag_one(residuals)
    correlation = min(0.8, max(0.0, sample + (1.0 + 3.0 * sample) / third))
    parts = variances / third * (1.0 + correlation) / (1.0 - correlation)
    error = float(np.sqrt(parts.sum()))
    if error == 0.0:
        return Gain(difference, difference, difference, 0.0)
    freedom = float(parts.sum() ** 2 / (parts**2 / (third - 1)).sum())
    half = float(t.ppf((1.0 + CONFIDENCE) / 2.0, freedom)) * error
    return Gain(difference, difference - half, difference + half, float(np.sqrt(variances.mean())))


def _lag_one(residuals: FloatArray) -> float:
    total = float((residuals**2).sum())
    return float((residuals[1:] * residuals[:-1]).sum()) / total if total > 0.0 else 0.0


def _falls(metric: str) -> bool:
    """Whether less of a metric is better: losses, and what the table says."""
    known = METRICS.get(metric)
    return "loss" in metric if known is None or known.direction in {"any", "steady"} else known.direction == "down"


def _failed(run: Run, metric: str, headline: str, evidence: tuple[str, ...]) -> Check:
    anomaly = Anomaly(
        kind="no-learning",
        metric=metric,
        severity=Severity.critical,
        onset=max(1, run.steps),
        summary="does not improve",
    )
    return failed(
        headline,
        anomalies=[anomaly],
        metrics=(metric,),
        evidence=evidence,
        remedy=("more steps: --rlhf-steps", "a higher learning rate, as in the packaged scenario of this algorithm"),
    )
