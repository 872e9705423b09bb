"""Data of which it is known what is right and what is wrong with it: curves, trainings, samples, checkpoints.

Each is described by a few numbers (a frozen dataclass), from which it can be made again, and which hypothesis shrinks
(`rlhf_assert.testing.strategies` draws them).
"""

from __future__ import annotations

from rlhf_assert.testing.synthetic.checkpoint import Corruption, SyntheticCheckpoint
from rlhf_assert.testing.synthetic.curve import Curve, Noise
from rlhf_assert.testing.synthetic.healthy_training import Algorithm, Training
from rlhf_assert.testing.synthetic.log import Log, column, log_of
from rlhf_assert.testing.synthetic.planted import Anomalous, Change, Planted, plant
from rlhf_assert.testing.synthetic.scores import RewardBatch, RewardFault

__all__ = [
    "Algorithm",
    "Anomalous",
    "Change",
    "Corruption",
    "Curve",
    "Log",
    "Noise",
    "Planted",
    "RewardBatch",
    "RewardFault",
    "SyntheticCheckpoint",
    "Training",
    "column",
    "log_of",
    "plant",
]
