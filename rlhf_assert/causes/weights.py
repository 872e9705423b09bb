"""What the saved weights of a run tell: their scale, and whether they moved."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from rlhf_assert.run import Run

_scales: WeakKeyDictionary[Run, float | None] = WeakKeyDictionary()
_moved: WeakKeyDictionary[Run, bool | None] = WeakKeyDictionary()


def typical_weight(run: Run) -> float | None:
    """Return the median over the matrices of their root mean square, before training if it is known; None if unknown.

    The median, and matrices only: norms start at 1 and would hide the scale of what is learnt.
    """
    if run not in _scales:
        folders = [folder for folder in (initial_weights(run), *run.checkpoints) if folder is not None]
        scales = [_matrix_scale(tensor) for tensor in _tensors(folders[0]).values()] if folders else []
        known = [scale for scale in scales if scale is not None]
        _scales[run] = float(np.median(known)) if known else None
    return _scales[run]


def weights_moved(run: Run) -> bool | None:
    """Return whether any weight differs between the two furthest saved states; None if there are not two."""
    if run not in _moved:
        folders = [folder for folder in (initial_weights(run), *run.checkpoints) if folder is not None]
        prints = [_fingerprint(folder) for folder in (folders[0], folders[-1])] if len(folders) > 1 else []
        # Different tensor names mean that the two cannot be compared, not that something moved.
        comparable = len(prints) == 2 and prints[0].keys() == prints[1].keys() and bool(prints[0])
        _moved[run] = prints[0] != prints[1] if comparable else None
    return _moved[run]


def initial_weights(run: Run) -> Path | None:
    """Return the folder of the weights before the first step, if it was saved and is still there."""
    named = run.info.get("initial_weights")
    folder = run.path / str(named) if named else None  # an absolute name stays itself
    return folder if folder is not None and folder.is_dir() else None


def _tensors(folder: Path) -> dict[str, Any]:
    return dict(_stream(folder))


def _fingerprint(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256(np.ascontiguousarray(tensor).view(np.uint8)).hexdigest() for name, tensor in _stream(folder)}


def _stream(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield the tensors of a folder's safetensors files; a file that cannot be read is for the checkpoint check."""
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="numpy") as weights:
                for name in weights.keys():  # noqa: SIM118 - not a mapping
                    yield name, weights.get_tensor(name)
        except (SafetensorError, OSError, TypeError):  # TypeError: bfloat16, which numpy does not know
            continue


def _matrix_scale(tensor: Any) -> float | None:
    if tensor.ndim < 2 or tensor.size == 0 or not np.issubdtype(tensor.dtype, np.floating):
        return None
    scale = float(np.sqrt(np.mean(np.square(tensor, dtype=np.float64))))
    return scale if np.isfinite(scale) and scale > 0.0 else None
