"""What the saved weights of a run tell: their scale, and whether they moved."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import median

from rlhf_assert.checkpoints import compare_checkpoints
from rlhf_assert.checkpoints.formats import open_checkpoint
from rlhf_assert.checkpoints.tensor_statistics import scan_tensors
from rlhf_assert.errors import UnreadableRun
from rlhf_assert.facts.fact import fact
from rlhf_assert.recording.run import Run


@fact
def typical_weight(run: Run) -> float | None:
    """Return the median over the matrices of their root mean square, before training if it is known; None if unknown.

    The median, and matrices only: norms start at 1 and would hide the scale of what is learnt.
    """
    states = saved_states(run)
    return _matrix_scale(states[0]) if states else None


@fact
def weights_moved(run: Run) -> bool | None:
    """Return whether any weight differs between the two furthest saved states; None if there are not two to compare."""
    states = saved_states(run)
    return _differ(states[0], states[-1]) if len(states) > 1 else None


def saved_states(run: Run) -> list[Path]:
    """Return the folders of the saved weights by step, those of step 0 first if they were saved."""
    named = run.info.get("initial_weights")
    initial = run.path / str(named) if named else None  # an absolute path stays itself
    return [*([initial] if initial is not None and initial.is_dir() else []), *run.checkpoints]


def _differ(first: Path, last: Path) -> bool | None:
    try:
        drift = compare_checkpoints(last, first)
    except UnreadableRun:
        return None  # the checkpoint check says what is wrong with it
    return None if not drift.tensors else not drift.unchanged


def _matrix_scale(folder: Path) -> float | None:
    try:
        statistics = scan_tensors(open_checkpoint(folder).tensors)
        scales = [tensor.rms for tensor in statistics if len(tensor.shape) > 1]
    except (OSError, UnreadableRun):
        return None
    known = [scale for scale in scales if math.isfinite(scale) and scale > 0.0]
    return median(known) if known else None
