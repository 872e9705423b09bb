"""Data of which it is known what is right and what is wrong with it: curves, trainings, samples, checkpoints.

Each is described by a few numbers (a frozen dataclass), from which it can be made again, and which hypothesis shrinks
(`rlhf_assert.strategies` draws them).
"""

from __future__ import annotations

from rlhf_assert.synthetic.checkpoint import Corruption, SyntheticCheckpoint
from rlhf_assert.synthetic.curve import Curve, Noise
from rlhf_assert.synthetic.log import Log, column, log_of
from rlhf_assert.synthetic.planted import Anomalous, Change, Planted, plant
from rlhf_assert.synthetic.scores import RewardBatch, RewardFault
from rlhf_assert.synthetic.training import Algorithm, Training

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
