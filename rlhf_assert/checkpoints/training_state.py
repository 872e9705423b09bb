"""What a checkpoint says of the training beside the weights: step, learning rate, Adam's moments."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rlhf_assert.checkpoints.formats import Checkpoint
from rlhf_assert.checkpoints.issues import Issue, critical, note
from rlhf_assert.checkpoints.partitioned import read_moments
from rlhf_assert.checkpoints.tensor_statistics import dot


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingState:
    """The state that a resumed training would begin with; NaN and None where the checkpoint does not tell.

    Attributes:
        step: the step at which it was saved.
        planned_steps: the last step of the training, None if unknown.
        learning_rate: the learning rate of the next step.
        learning_rates: those that were logged so far, in order.
        first_moment: root mean square of Adam's m over all parameters.
        second_moment: root of the mean of Adam's v: the gradient's recent root mean square.
        unjudged: why the optimizer was not looked at, empty if it was.
    """

    step: int | None = None
    planned_steps: int | None = None
    learning_rate: float = math.nan
    learning_rates: tuple[float, ...] = ()
    first_moment: float = math.nan
    second_moment: float = math.nan
    unjudged: str = ""


def read_training_state(checkpoint: Checkpoint, *, optimizer: bool = True) -> tuple[TrainingState, tuple[Issue, ...]]:
    """Return the training state and what is wrong with it.

    Args:
        checkpoint: the checkpoint.
        optimizer: whether to open `optimizer.pt`, which takes torch (with `weights_only`, so that no code in it runs)
            and about its size in reads.
    """
    state = checkpoint.trainer_state
    history = state.get("log_history")
    logged = (
        [row.get("learning_rate") for row in history if isinstance(row, Mapping)] if isinstance(history, list) else []
    )
    rates = tuple(float(rate) for rate in logged if isinstance(rate, int | float))
    planned = state.get("max_steps")
    fields: dict[str, Any] = {
        "step": checkpoint.step,
        "planned_steps": planned if type(planned) is int and planned > 0 else None,
        "learning_rate": rates[-1] if rates else math.nan,
        "learning_rates": rates,
    }
    if checkpoint.moments and optimizer:
        return _partitioned_state(checkpoint, fields)
    if checkpoint.optimizer is None:
        missing = "no file of a rank could be read" if checkpoint.facts else "the checkpoint has no optimizer.pt"
        return TrainingState(**fields, unjudged=missing), ()
    if not optimizer:
        return TrainingState(**fields, unjudged="optimizer.pt was not asked for"), ()
    loaded = _load(checkpoint.optimizer)
    if isinstance(loaded, str):
        unjudged = note("optimizer-not-judged", f"optimizer.pt: {loaded}")
        return TrainingState(**fields, unjudged=loaded), (unjudged,)
    if isinstance(loaded, Issue):
        return TrainingState(**fields, unjudged=loaded.detail), (loaded,)
    groups = loaded.get("param_groups")
    rate: Any = groups[0].get("lr") if isinstance(groups, list) and groups and isinstance(groups[0], Mapping) else None
    if isinstance(rate, int | float) or hasattr(rate, "item"):
        fields["learning_rate"] = float(rate)
    moments, issues = _moments(loaded.get("state"))
    return TrainingState(**fields, **moments), issues


def _partitioned_state(checkpoint: Checkpoint, fields: dict[str, Any]) -> tuple[TrainingState, tuple[Issue, ...]]:
    """Return the training state that the ranks wrote, each its share of Adam's moments."""
    rate = checkpoint.facts.get("learning_rate")
    fields["learning_rate"] = math.nan if rate is None else float(rate)
    parameters = {
        f"{key} of {name}": one for name, state in read_moments(checkpoint.moments) for key, one in state.items()
    }
    moments, issues = _moments(parameters, "the ranks' files")
    return TrainingState(**fields, **moments), issues


def _load(file: Path) -> Mapping[str, Any] | Issue | str:
    """Return an optimizer's state dict, what is wrong with the file, or why it was not judged."""
    try:
        import torch
    except ImportError:
        return "not judged: torch is not installed"
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # noqa: BLE001 - whatever a broken archive makes torch raise, it is the finding
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if "weights_only" in str(error) or "Unsupported" in reason:
            return critical("unsafe-optimizer", f"{file.name}: holds more than tensors and numbers, and is not opened")
        return critical("truncated-file", f"{file.name}: cannot be read: {reason:.80}")
    if not isinstance(loaded, Mapping):
        return critical("truncated-file", f"{file.name}: holds no state of an optimizer")
    return loaded


def _moments(state: Any, where: str = "optimizer.pt") -> tuple[dict[str, Any], tuple[Issue, ...]]:
    """Return the size of Adam's moments and what is wrong with them."""
    parameters = list(state.items()) if isinstance(state, Mapping) else []
    pairs = [(key, one) for key, one in parameters if isinstance(one, Mapping) and "exp_avg_sq" in one]
    if not pairs:
        reason = "it holds no Adam moments" if parameters else "it has not stepped yet"
        return {"unjudged": reason}, (note("optimizer-not-judged", f"{where}: {reason}"),)
    issues: list[Issue] = []
    count, first, second = 0, 0.0, 0.0
    for key, one in pairs:
        fields = []
        for name in ("exp_avg", "exp_avg_sq"):
            moment = one.get(name)
            if not hasattr(moment, "detach"):
                continue
            total, squares, bad, negative = _sizes(_blocks(moment))
            fields.append((total, squares))
            if bad:
                detail = f"{where}: {name} of parameter {key}: {bad} elements are not finite"
                issues.append(critical("non-finite-moment", detail))
            elif name == "exp_avg_sq" and negative:
                detail = f"{where}: {name} of parameter {key}: {negative} elements are below 0, a mean of squares"
                issues.append(critical("negative-moment", detail))
        if len(fields) == 2:
            count += int(one["exp_avg_sq"].numel())
            first += fields[0][1]
            second += fields[1][0]
    moments = {
        "first_moment": math.sqrt(first / count) if count else math.nan,
        "second_moment": math.sqrt(second / count) if count and second >= 0.0 else math.nan,
    }
    return moments, tuple(issues)


def _blocks(tensor: Any) -> Iterable[Any]:
    """Yield a tensor in float64 numpy blocks, so that memory does not follow its size."""
    flat = tensor.detach().reshape(-1)
    for start in range(0, flat.numel(), 1 << 16):
        yield flat[start : start + (1 << 16)].double().numpy()


def _sizes(blocks: Iterable[Any]) -> tuple[float, float, int, int]:
    """Return the sum, the sum of squares, and the numbers of non-finite and of negative elements."""
    total, squares, bad, negative = 0.0, 0.0, 0, 0
    for block in blocks:
        here = float(block.sum())
        if not math.isfinite(here):
            finite = block[np.isfinite(block)]
            bad += block.size - finite.size
            block = finite  # noqa: PLW2901
            here = float(block.sum())
        total += here
        squares += dot(block, block)
        negative += int((block < 0).sum())
    return total, squares, bad, negative
