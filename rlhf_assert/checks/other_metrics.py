"""The metrics that no other check owns: so that no finding is lost."""

from __future__ import annotations

from rlhf_assert.checked import Check, Concern
from rlhf_assert.checks.registry import check, checks, find_check
from rlhf_assert.checks.spec import of_algorithms
from rlhf_assert.checks.stating import anomalies_of, evidence_of, failed, passed, serious, skipped
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.detect.detector_registry import BUILT_IN
from rlhf_assert.facts.detected import anomalies_in, by_onset
from rlhf_assert.failures import MetricAnomaly
from rlhf_assert.metrics import label
from rlhf_assert.numbers import count
from rlhf_assert.recording.run import Run, ordered


@check(
    name="metrics",
    question="Does every other metric behave as in healthy runs?",
    failure=MetricAnomaly,
    order=220,
    concerns=frozenset({Concern.REWARDS, Concern.CRITIC, Concern.RATIO}),
    needs="any metric that no other check owns",
    assertion="assert_other_metrics_sound",
    root_rank=40,
    finds=frozenset(
        {
            "learning_rate_spike",
            "gradient_noise",
            "gradient_nan",
            "gradient_inf",
            "weights_nan",
            "weights_inf",
            "reward_constant",
            "reward_negated",
            "reward_rescaled",
            "advantages_negated",
            "kl_coefficient_wrong",
            "kl_coefficient_negated",
            "rollout_weights_stale",
            "temperature_mismatch",
            "truncation",
            "eos_as_pad",
            "dropout_left_on",
        }
    ),
    expected=of_algorithms("ppo", "grpo", "rloo", "online-dpo", "dpo", "kto", "reward", "sft"),
)
def judge_other_metrics(run: Run, *, fail_on: Severity = Severity.critical) -> Check:
    """Judge every canonical metric that no check of its own judges: reward, lengths, ratios, shares, timings."""
    owned = {metric for spec in checks() for metric in spec.owned(run)}
    metrics = [name for name in ordered(run.series) if name not in owned]
    added = _of_added_detectors(run)
    if not metrics and not added:
        return skipped("the run logged no further metric")
    anomalies = tuple(sorted([*anomalies_of(run, metrics), *added], key=by_onset))
    failing = serious(anomalies, fail_on)
    if failing:
        lead = failing[0]
        drawn = list(dict.fromkeys(anomaly.metric for anomaly in failing if anomaly.metric in run.series))[:3]
        headline = f"{label(lead.metric)} {lead.summary}".lstrip()
        return failed(headline, anomalies=anomalies, metrics=drawn, evidence=evidence_of(failing))
    return passed(
        f"{count(len(metrics), 'further metric')}", metrics[:3], anomalies, note=count(len(metrics), "metric")
    )


def _of_added_detectors(run: Run) -> list[Anomaly]:
    """Return what others' detectors report where no check looks: at the reward, or at a metric that was not logged."""
    rewards = find_check("rewards").owned(run)
    return [
        anomaly
        for anomaly in anomalies_in(run)
        if anomaly.detector
        and anomaly.detector not in BUILT_IN
        and (anomaly.metric not in run.series or anomaly.metric in rewards)
    ]
