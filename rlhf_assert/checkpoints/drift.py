"""How far a checkpoint has moved from another one."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rlhf_assert.checkpoints.formats import Checkpoint, open_checkpoint
from rlhf_assert.checkpoints.header import TensorEntry
from rlhf_assert.checkpoints.tensor_statistics import TensorStatistics, relative, scan_tensors
from rlhf_assert.errors import UnreadableRun

_LAYER = re.compile(r"^(.*?\.(?:layers|h|blocks?)\.\d+)(?=\.)")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointDrift:
    """Relative drift ||W - W_ref|| / ||W_ref||, by tensor, by layer and in all.

    Attributes:
        path: the checkpoint.
        reference: the one that it is compared with.
        total: over all tensors that both have; NaN if there is none.
        tensors: by tensor; infinite where the reference is 0 and the tensor is not.
        layers: by layer (`model.layers.0`), other tensors under their own name.
        largest: the tensor that moved most and its drift, ("", NaN) if there is none. Matrices come first: a bias that
            began at 0 moves infinitely far in its first step.
        identical: the tensors that are equal to the reference's, bit for bit if the format is the same.
        added: tensors that only the checkpoint has.
        missing: tensors that only the reference has.
        reshaped: tensors whose shapes differ.
    """

    path: Path
    reference: Path
    total: float
    tensors: Mapping[str, float] = field(default_factory=dict)
    layers: Mapping[str, float] = field(default_factory=dict)
    largest: tuple[str, float] = ("", math.nan)
    identical: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    reshaped: tuple[str, ...] = ()

    @property
    def unchanged(self) -> bool:
        """Whether there was something to compare and not one tensor differs."""
        return bool(self.tensors) and len(self.identical) == len(self.tensors)


def compare_checkpoints(path: Path | str, reference: Path | str) -> CheckpointDrift:
    """Return the drift of one checkpoint from another.

    Raises:
        UnreadableRun: one of them cannot be read; `inspect_checkpoint` says all that is wrong with it.
    """
    one, other = open_checkpoint(Path(path)), open_checkpoint(Path(reference))
    for checkpoint in (one, other):
        if not checkpoint.tensors:
            raise UnreadableRun(f"{checkpoint.path}: {checkpoint.issues[0].detail}")
    try:
        return measure_drift(one, other, tuple(scan_tensors(one.tensors, by_name(other))))
    except OSError as error:
        raise UnreadableRun(f"{one.path}: cannot be read: {error}") from error


def by_name(checkpoint: Checkpoint) -> dict[str, TensorEntry]:
    """Return the tensors of a checkpoint by name."""
    return {entry.name: entry for entry in checkpoint.tensors}


def measure_drift(
    checkpoint: Checkpoint, reference: Checkpoint, statistics: Iterable[TensorStatistics]
) -> CheckpointDrift:
    """Put together the drift of a checkpoint from statistics that were taken against `reference`."""
    compared = [one for one in statistics if one.identical is not None]
    ours = {entry.name: entry.shape for entry in checkpoint.tensors}
    theirs = {entry.name: entry.shape for entry in reference.tensors}
    layers: dict[str, list[TensorStatistics]] = {}
    for one in compared:
        layers.setdefault(layer_of(one.name), []).append(one)
    return CheckpointDrift(
        path=checkpoint.path,
        reference=reference.path,
        total=_together(compared),
        tensors={one.name: one.drift for one in compared},
        layers={name: _together(parts) for name, parts in layers.items()},
        largest=_largest([one for one in compared if len(one.shape) > 1]) or _largest(compared) or ("", math.nan),
        identical=tuple(one.name for one in compared if one.identical),
        added=tuple(sorted(set(ours) - set(theirs))),
        missing=tuple(sorted(set(theirs) - set(ours))),
        reshaped=tuple(sorted(name for name in set(ours) & set(theirs) if ours[name] != theirs[name])),
    )


def layer_of(tensor: str) -> str:
    """Return the layer that a tensor belongs to; a tensor outside of the layers is its own.

    >>> layer_of("model.layers.11.self_attn.q_proj.weight"), layer_of("model.embed_tokens.weight")
    ('model.layers.11', 'model.embed_tokens.weight')
    """
    matched = _LAYER.match(tensor)
    return matched[1] if matched else tensor


def _largest(parts: list[TensorStatistics]) -> tuple[str, float] | None:
    """Return the name and drift of the part that moved most, or None if none has a finite drift."""
    drifts = [(one.name, one.drift) for one in parts if math.isfinite(one.drift)]
    return max(drifts, key=lambda item: item[1], default=None)


def _together(parts: list[TensorStatistics]) -> float:
    """Return the drift of several tensors as one."""
    if not parts:
        return math.nan
    difference, reference = (sum(squares) for squares in zip(*(part.drift_squares for part in parts), strict=True))
    return relative(difference, reference)
