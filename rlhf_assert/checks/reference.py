"""The reference model: it stands still."""

from __future__ import annotations

from math import isfinite

from rlhf_assert.checked import Check
from rlhf_assert.checks.registry import check
from rlhf_assert.checks.stating import failed, passed, skipped
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.failures import LoopUnsound
from rlhf_assert.metrics import label
from rlhf_assert.numbers import count, number
from rlhf_assert.recording.events import AverageMoved, ReferenceFingerprint, ReferenceMoved
from rlhf_assert.recording.run import Run

MOVED = "reference-moved"
STRANGE = "step-one-reward"
AVERAGE_MOVED = "average-moved"
TOLERANCE = 0.01
"""Nats per completion; in a sound start both log-probabilities come from equal weights and equal kernels: it is 0."""


@check(
    name="reference",
    question="Does the reference stand still?",
    failure=LoopUnsound,
    order=120,
    needs="fingerprints of the reference",
    assertion="assert_loop_sound",
    of_the_loop=True,
    finds=frozenset({"reference_noised", "reference_zeroed", "reference_updated"}),
)
def judge_reference(run: Run) -> Check:
    """Judge whether the reference's weights changed during the training (events `reference_moved`).

    An invariant: the divergence is measured from one fixed policy, unless the configuration syncs the reference. The
    other: at step 1 the policy is the reference, so the implicit rewards of DPO, KTO and OnlineDPO are 0. A third: an
    average of the policy's weights (EMA) moves with each of its updates, by the share that its coefficient says, and at
    no other time (events `average_moved`).
    """
    strange = _strange_start(run) or _average(run)
    if strange is not None:
        return strange
    if run.config.get("sync_ref_model"):
        return skipped("sync_ref_model: the reference moves on purpose")
    moved = [event.step or 0 for event in run.events_of(ReferenceMoved)]
    if not moved and not run.events_of(ReferenceFingerprint):
        return skipped("the trainer holds no reference model of its own")
    if not moved:
        return passed("stood still")
    anomaly = Anomaly(
        kind=MOVED,
        metric="kl_div",
        severity=Severity.critical,
        onset=moved[0],
        summary=f"moved at step {moved[0]}",
        evidence={"steps in which it moved": len(moved)},
        causes=("the reference shares tensors with the policy", "something wrote into the reference's weights"),
    )
    return failed(
        f"reference {anomaly.summary}, in {count(len(moved), 'step')}",
        anomalies=[anomaly],
        metrics=[name for name in ("kl_div", "chosen_reward", "loss") if name in run.series],
        remedy=("freeze the reference, and load it a second time: it may share tensors with the policy",),
    )


def _average(run: Run) -> Check | None:
    """Return the failure of an average of the weights that something else moved, or None."""
    moved = run.events_of(AverageMoved)
    if not moved:
        return None
    step = max(1, moved[0].step or 1)
    anomaly = Anomaly(
        kind=AVERAGE_MOVED,
        metric="kl_div",
        severity=Severity.critical,
        onset=step,
        summary=f"{moved[0].reason or 'moved'}, at step {step}",
        evidence={"times": len(moved)},
        causes=("something else writes into it", "it shares tensors with the policy"),
    )
    return failed(
        f"average of the weights {anomaly.summary}",
        anomalies=[anomaly],
        metrics=[name for name in ("kl_div",) if name in run.series],
        evidence=[f"{count(len(moved), 'time')} in the run"],
        remedy=("keep the average apart from the policy, and update it once for each of its updates",),
    )


def _strange_start(run: Run) -> Check | None:
    beta = run.config.get("beta")
    if run.algorithm not in {"dpo", "kto", "online-dpo"} or not isinstance(beta, float | int) or not beta:
        return None
    known = [run.series[name] for name in ("chosen_reward", "rejected_reward") if name in run.series]
    firsts = [series.first for series in known if len(series) and int(series.steps[0]) == 1]
    distance, reward = max(((abs(first / beta), first) for first in firsts if isfinite(first)), default=(0.0, 0.0))
    if distance <= TOLERANCE:
        return None
    anomaly = Anomaly(
        kind=STRANGE,
        metric="chosen_reward",
        severity=Severity.critical,
        onset=1,
        summary=f"{number(reward)} at step 1, where the policy still is the reference: must be 0",
        evidence={"nats per completion": distance, "tolerance": TOLERANCE},
        causes=(
            "the reference has other weights than the policy",
            "dropout is on while log-probabilities are computed",
        ),
    )
    return failed(
        f"{label('chosen_reward')} {anomaly.summary}",
        anomalies=[anomaly],
        metrics=["chosen_reward"],
        remedy=("load policy and reference from the same checkpoint in the same dtype, with dropout off",),
    )
