"""The metrics that no other check owns: so that no finding is lost."""

from __future__ import annotations

from rlhf_assert.check import Check
from rlhf_assert.checks.losses import LOSSES
from rlhf_assert.checks.stating import anomalies_of, evidence_of, failed, passed, serious, skipped
from rlhf_assert.detect import Severity
from rlhf_assert.metrics import label
from rlhf_assert.numbers import count
from rlhf_assert.recording.run import Run, ordered

NAME = "metrics"
REWARDS = frozenset({"reward", "reward_std", "zero_std_fraction"})
"""Judged by the reward check as soon as a spread or samples let it judge: a finding that it allows is allowed here."""

OWNED = frozenset({"kl_div", "approx_kl", *LOSSES, "explained_variance", "entropy", "grad_norm", "rollout_kl"})
"""Canonical metrics that a check of their own judges."""


def judge_other_metrics(run: Run, *, fail_on: Severity = Severity.critical) -> Check:
    """Judge every canonical metric that no check of its own judges: reward, lengths, ratios, shares, timings."""
    judged_elsewhere = OWNED | REWARDS if len(run.samples) or "reward_std" in run.series else OWNED
    metrics = [name for name in ordered(run.series) if name not in judged_elsewhere]
    if not metrics:
        return skipped(NAME, "the run logged no further metric")
    found = anomalies_of(run, metrics)
    failing = serious(found, fail_on)
    if failing:
        lead = failing[0]
        drawn = list(dict.fromkeys(sign.metric for sign in failing))[:3]
        headline = f"{label(lead.metric)} {lead.summary}"
        return failed(run, NAME, headline, anomalies=found, metrics=drawn, evidence=evidence_of(failing))
    return passed(
        NAME, f"{count(len(metrics), 'further metric')}", metrics[:3], found, note=count(len(metrics), "metric")
    )
