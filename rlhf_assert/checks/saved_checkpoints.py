"""The saved checkpoints: whole, finite, in proportion, and moved by the training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from rlhf_assert.checked import Cause, Check, Concern
from rlhf_assert.checkpoints import CheckpointHealth, Issue, health_over_time, inspect_checkpoint
from rlhf_assert.checkpoints.partitioned import newest_steps
from rlhf_assert.checks.registry import check
from rlhf_assert.checks.spec import of_algorithms
from rlhf_assert.checks.stating import failed, passed, skipped
from rlhf_assert.detect.anomaly import Severity
from rlhf_assert.errors import UsageError
from rlhf_assert.facts.saved_weights import saved_states
from rlhf_assert.failures import CheckpointUnhealthy
from rlhf_assert.numbers import count, number, share
from rlhf_assert.recording.run import Run

MAX_DRIFT = 1.0
"""||W - W_start|| / ||W_start|| of all weights: beyond 1 the training is further from its start than its start is
from nothing. In the packaged scenarios, which learn as fast as a tiny model can, no tensor drifts by over 0.25."""

FILE_KINDS = frozenset(
    {"broken-header", "broken-index", "incomplete-index", "missing-file", "truncated-file", "unreadable-file"}
)
"""Issues of the files as such."""


@check(
    name="checkpoints",
    question="Is every saved checkpoint whole, finite and in proportion?",
    failure=CheckpointUnhealthy,
    order=200,
    concerns=frozenset({Concern.WEIGHTS}),
    needs="saved checkpoints",
    options={"min_score": "min_score"},
    assertion="assert_checkpoints_healthy",
    root_rank=60,
    not_in_a_log="a log holds no weights: rlhf-assert checkpoint PATH",
    finds=frozenset(
        {
            "learning_rate_spike",
            "learning_rate_zero",
            "gradient_drop",
            "gradient_nan",
            "gradient_inf",
            "optimizer_state_lost",
            "parameters_frozen",
            "weights_nan",
            "weights_inf",
            "checkpoint_truncated",
        }
    ),
    expected=of_algorithms("ppo", "grpo", "rloo", "online-dpo", "dpo", "kto", "reward", "sft"),
)
def judge_checkpoints(run: Run, *, min_score: float = 0.8, max_drift: float = MAX_DRIFT) -> Check:
    """Judge every checkpoint that a run saved, and how far it moved from the weights it began with.

    Fails on: models whose newest folders to resume from are of different steps (actor and critic), a score below
    `min_score` (0 for a NaN, an infinity, a matrix of zeros, a missing or truncated file; see `CheckpointHealth`), of
    the folders to resume from only a score of 0, a drift beyond `max_drift`, and weights that equal the start although
    there were gradients.
    Drift is measured to the step-0 weights if the run saved them, else to the first checkpoint.

    Args:
        run: the run.
        min_score: lowest sound score, 0 to 1.
        max_drift: largest sound relative drift of all weights together.

    Raises:
        UsageError: `min_score` outside of 0 to 1, or `max_drift` not above 0.
    """
    if not 0.0 <= min_score <= 1.0:
        raise UsageError(f"min_score={min_score}: a score lies between 0 and 1")
    if not max_drift > 0.0:
        raise UsageError(f"max_drift={max_drift}: a drift is above 0")
    resumable = newest_steps(run.path / "checkpoints")
    unequal = _unequal(run, resumable) or _unreadable(run, resumable, min_score)
    if unequal is not None:
        return unequal
    if not run.checkpoints:
        if resumable:
            told = f"{', '.join(resumable)} can be resumed from {', '.join(sorted(set(resumable.values())))}"
            return passed(told, _shown(run))
        return skipped("the run saved no checkpoint")
    start = next((state for state in saved_states(run) if state not in run.checkpoints), None)
    healths = health_over_time(run.checkpoints, start)
    broken = next((health for health in healths if health.score == 0.0 < min_score), None)
    if broken is not None:
        return _sick(run, healths, broken, min_score)
    frozen = _frozen(run, healths[-1])
    if frozen is not None:
        return frozen
    drifted = next((health for health in healths if _drift(health) > max_drift), None)
    if drifted is not None:
        return _drifted(run, healths, drifted, max_drift)
    sick = next((health for health in healths if health.score < min_score), None)
    if sick is not None:
        return _sick(run, healths, sick, min_score)
    lowest = min(health.score for health in healths)
    moved = _moved(healths[-1])
    headline = f"{count(len(healths), 'file')}, score {lowest:.2f}" + (f"; {moved}" if moved else "")
    return passed(headline, _shown(run), note=headline)


def _unequal(run: Run, resumable: Mapping[str, str]) -> Check | None:
    """Return the failure of models that can only be resumed from different steps, or None."""
    if len(set(resumable.values())) < 2:
        return None
    told = ", ".join(f"{model} at {step}" for model, step in resumable.items())
    return _fail(
        run,
        f"models were saved at different steps: {told}",
        evidence=[f"{model}: the newest is {step}" for model, step in resumable.items()],
        remedy=("resume from a step that all of them have, by name", "find out which save was cut off, and why"),
        cause=Cause("a save was cut off between two models", "certain"),
    )


def _unreadable(run: Run, resumable: Mapping[str, str], min_score: float) -> Check | None:
    """Return the failure of a folder to resume from that is damaged or holds no numbers, or None."""
    for model in resumable:
        health = inspect_checkpoint(run.path / "checkpoints" / model)
        if health.score == 0.0 < min_score:
            sick = _sick(run, [health], health, min_score)
            return replace(sick, headline=f"{model}/{sick.headline}")
    return None


def _shown(run: Run) -> tuple[str, ...]:
    return tuple(name for name in ("grad_norm", "learning_rate") if name in run.series)


def _drift(health: CheckpointHealth) -> float:
    return health.drift.total if health.drift is not None else math.nan


def _moved(health: CheckpointHealth) -> str:
    """Return what moved most, for the summary line."""
    if health.drift is None:
        return ""
    name, drift = health.drift.largest
    return f"most drift {share(drift)}, {_short(name)}" if name else ""


def _short(tensor: str) -> str:
    """Return a tensor's name without what all names share.

    >>> _short("model.layers.1.self_attn.q_proj.weight")
    'layers.1.q_proj'
    """
    parts = [part for part in tensor.split(".") if part not in {"model", "weight", "self_attn", "transformer", "mlp"}]
    return ".".join(parts) or tensor


def _sick(run: Run, healths: Sequence[CheckpointHealth], sick: CheckpointHealth, min_score: float) -> Check:
    worst = sick.issues[0]
    evidence = [_line(issue) for issue in sick.issues[:4] if issue.severity > Severity.info]
    hidden = sum(issue.severity > Severity.info for issue in sick.issues) - len(evidence)
    if hidden > 0:
        evidence.append(f"and {count(hidden, 'more finding')}")
    before = healths[: healths.index(sick)]
    if before:
        evidence.append(f"{before[-1].path.name} before it scores {before[-1].score:.2f}")
    return _fail(
        run,
        f"{sick.path.name}: {worst.detail}: score {sick.score:.2f}, limit {min_score:.2f}",
        evidence=evidence,
        remedy=sick.recommendations,
        # A damaged file says nothing about the training, so the training is not asked for the cause.
        cause=Cause("the file was damaged when it was saved, or after", "certain")
        if worst.kind in FILE_KINDS
        else None,
    )


def _line(issue: Issue) -> str:
    return issue.detail if len(issue.detail) <= 80 else issue.detail[:79] + "…"


def _drifted(run: Run, healths: Sequence[CheckpointHealth], drifted: CheckpointHealth, max_drift: float) -> Check:
    drift = drifted.drift
    assert drift is not None
    name, largest = drift.largest
    course = ", ".join(f"{share(_drift(health))} at step {health.step}" for health in healths[:4])
    return _fail(
        run,
        f"{drifted.path.name}: weights were replaced, not trained: drift {share(drift.total)}, "
        f"limit {share(max_drift)}",
        evidence=[f"drift from {drift.reference.name}: {course}", f"most: {_short(name)}, {share(largest)}"],
        remedy=("lower learning_rate", "check that the checkpoint belongs to this model"),
        suspicion=Cause("learning_rate is far too high, or another model was saved"),
    )


def _frozen(run: Run, last: CheckpointHealth) -> Check | None:
    """Return the failure of weights that equal the start although there were gradients, or None."""
    if last.drift is None or not last.drift.unchanged:
        return None
    gradients = run.series.get("grad_norm")
    if gradients is None or not np.any(gradients.finite.values > 0.0):
        return None
    largest = number(float(gradients.finite.values.max()))
    rates = run.series.get("learning_rate")
    evidence = [f"all {count(len(last.drift.tensors), 'tensor')} are bit-identical to {last.drift.reference.name}"]
    evidence.append(f"grad_norm up to {largest} over {count(len(gradients), 'row')}")
    if rates is not None and len(rates.finite):
        evidence.append(f"learning_rate {rates.finite.values.min():g} to {rates.finite.values.max():g}")
    return _fail(
        run,
        f"{last.path.name}: weights equal {last.drift.reference.name}, though grad_norm reached {largest}",
        evidence=evidence,
        remedy=(
            "check learning_rate and its schedule",
            "check that the optimizer holds the parameters that have gradients",
        ),
        suspicion=Cause("learning_rate is 0, parameters are frozen, or the optimizer does not step"),
    )


def _fail(
    run: Run,
    headline: str,
    *,
    evidence: Sequence[str],
    remedy: Sequence[str],
    cause: Cause | None = None,
    suspicion: Cause | None = None,
) -> Check:
    return failed(headline, metrics=_shown(run), evidence=evidence, remedy=remedy, cause=cause, suspicion=suspicion)
