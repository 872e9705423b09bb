"""The health of a checkpoint: a score, what lowered it, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlhf_assert.checkpoints.drift import CheckpointDrift, by_name, measure_drift
from rlhf_assert.checkpoints.formats import open_checkpoint
from rlhf_assert.checkpoints.issues import Issue, critical, note
from rlhf_assert.checkpoints.rules import learning_rate_issues, moment_issues, weight_issues
from rlhf_assert.checkpoints.tensor_statistics import TensorStatistics, scan_tensors
from rlhf_assert.checkpoints.training_state import TrainingState, read_training_state
from rlhf_assert.detect.anomaly import Severity

ADVICE = {
    "all-zero-matrix": "find what resets the tensor: weight tying, a failed load, ZeRO-3 saved without gathering",
    "broken-header": "save the checkpoint again; do not load this file",
    "broken-index": "copy or save all shards with their index again",
    "dead-rows": "compare the vocabulary with the tokenizer, and look for neurons that died",
    "dominant-element": "restore the tensor from an earlier checkpoint: one element is corrupt",
    "incomplete-index": "save the index again: a loader leaves out what it does not name",
    "large-weights": "lower the learning rate, add gradient clipping, and go back to an earlier checkpoint",
    "learning-rate": "check learning_rate, its schedule and the warm-up",
    "missing-file": "copy or save the checkpoint again, all files of it",
    "negative-moment": "resume from an earlier checkpoint: the optimizer's state is corrupt",
    "no-weights": "save the model as safetensors",
    "non-finite-moment": "resume from an earlier checkpoint: the next step would make the weights NaN",
    "non-finite-weight": "go back to the last checkpoint that is finite; look for an overflow before this one",
    "optimizer-not-judged": "",
    "truncated-file": "copy or save the checkpoint again: the disk was full or the save was cut off",
    "unequal-steps": "resume from a step that all models have, by the folders' names, and not by `latest`",
    "unreadable-file": "check the file's permissions",
    "unsafe-optimizer": "do not load this file; where does it come from?",
    "zero-moments": "check that the loss depends on the parameters that are trained",
}
"""Issue -> what to do about it."""
IN_STATE = ("global_step", "learning_rate")
"""Facts that the training state tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointHealth:
    """What is known of one checkpoint.

    The score is 0 if any issue is critical (a NaN, an infinity, a matrix of zeros, a missing, truncated or broken file,
    no weights at all), else the product over the kinds of warning of 1 - the kind's worst penalty: 1 is a checkpoint of
    which nothing bad is known, and each kind counts once, however many tensors show it.

    Attributes:
        path: the folder or file.
        score: 0 to 1.
        issues: the gravest first.
        tensors: statistics of each tensor.
        training_state: step, learning rate and Adam's moments.
        drift: distance from the reference, if one was given and both could be read.
        recommendations: what to do, in the order of the issues.
        facts: what else it says of its training: `zero_stage`, `ranks`, `estimator` and the like.
    """

    path: Path
    score: float
    issues: tuple[Issue, ...]
    tensors: tuple[TensorStatistics, ...]
    training_state: TrainingState
    drift: CheckpointDrift | None
    recommendations: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def step(self) -> int | None:
        """The step at which it was saved, None if unknown."""
        return self.training_state.step


def inspect_checkpoint(
    path: Path | str, reference: Path | str | None = None, *, optimizer: bool = True
) -> CheckpointHealth:
    """Judge a checkpoint in one pass over its weights; whatever is wrong with it is an issue, never an exception.

    Args:
        path: a folder as transformers saves it, a safetensors file, the index of a sharded one, or a folder that the
            ranks of a training wrote to resume from (see `partitioned`).
        reference: another checkpoint to measure drift against, in the same pass.
        optimizer: whether to open `optimizer.pt` too (see `read_training_state`).
    """
    checkpoint = open_checkpoint(Path(path))
    other = open_checkpoint(Path(reference)) if reference is not None else None
    issues = list(checkpoint.issues)
    tensors: list[TensorStatistics] = []
    if other is not None and other.issues:
        issues.append(note("reference-not-read", f"reference {other.path.name}: {other.issues[0].detail}"))
    try:
        tensors.extend(scan_tensors(checkpoint.tensors, by_name(other) if other else None))
    except OSError as error:
        issues.append(critical("truncated-file", str(error)))
    skipped = sorted({entry.dtype for entry in checkpoint.tensors} - {one.dtype for one in tensors})
    if skipped and len(tensors) < len(checkpoint.tensors):
        issues.append(note("format-not-judged", f"tensors of format {', '.join(skipped)} were not read"))
    state, problems = read_training_state(checkpoint, optimizer=optimizer)
    issues += [*problems, *weight_issues(tensors), *learning_rate_issues(state, tensors), *moment_issues(state)]
    issues.sort(key=lambda issue: (-issue.severity, -issue.penalty))
    advice = dict.fromkeys(ADVICE.get(issue.kind, "") for issue in issues)
    return CheckpointHealth(
        path=checkpoint.path,
        score=score(issues),
        issues=tuple(issues),
        tensors=tuple(tensors),
        training_state=state,
        drift=measure_drift(checkpoint, other, tensors) if other and other.tensors and tensors else None,
        recommendations=tuple(line for line in advice if line),
        facts={name: value for name, value in checkpoint.facts.items() if name not in IN_STATE},
    )


def score(issues: Iterable[Issue]) -> float:
    """Return the score that issues leave, 0 to 1 (see `CheckpointHealth`)."""
    worst: dict[str, float] = {}
    for issue in issues:
        if issue.severity is Severity.critical:
            return 0.0
        worst[issue.kind] = max(worst.get(issue.kind, 0.0), issue.penalty)
    left = 1.0
    for penalty in worst.values():
        left *= 1.0 - penalty
    return left


def health_over_time(
    paths: Sequence[Path], reference: Path | None = None, *, optimizer: bool = True
) -> tuple[CheckpointHealth, ...]:
    """Judge the checkpoints of one training in order.

    Args:
        paths: the checkpoints, oldest first.
        reference: what drift is measured against; the first of `paths` if None.
        optimizer: whether to open the last one's `optimizer.pt`: what went wrong in a moment stays in it.
    """
    healths = []
    for rank, path in enumerate(paths):
        against = reference or (paths[0] if rank else None)
        healths.append(inspect_checkpoint(path, against, optimizer=optimizer and rank == len(paths) - 1))
    return tuple(healths)
