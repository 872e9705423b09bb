"""Checkpoints: what they hold, how healthy they are, how far they moved. Nothing is ever unpickled unsafely."""

from __future__ import annotations

from rlhf_assert.checkpoints.drift import CheckpointDrift, compare_checkpoints
from rlhf_assert.checkpoints.health import CheckpointHealth, health_over_time, inspect_checkpoint
from rlhf_assert.checkpoints.issues import Issue
from rlhf_assert.checkpoints.tensor_statistics import TensorStatistics
from rlhf_assert.checkpoints.training_state import TrainingState

__all__ = [
    "CheckpointDrift",
    "CheckpointHealth",
    "Issue",
    "TensorStatistics",
    "TrainingState",
    "compare_checkpoints",
    "health_over_time",
    "inspect_checkpoint",
]
