"""Hypothesis strategies: healthy metrics and runs, anomalies planted in them, reward batches, checkpoints, and more.

They draw the descriptions of `rlhf_assert.testing.synthetic`: a handful of numbers and a seed. So a failing example
shrinks to few rows, no ornament, silence where noise is not needed, and the weakest and shortest anomaly at the
earliest place.
"""

from __future__ import annotations

from typing import Any

from hypothesis.strategies import SearchStrategy

from rlhf_assert.recording.rows import Row
from rlhf_assert.recording.run import Run, Samples
from rlhf_assert.recording.series import Series
from rlhf_assert.testing.strategies.anomalies import (
    anomalous,
    backward_steps,
    changes,
    collapse,
    drift,
    duplicated_steps,
    explosion,
    freeze,
    infinity_burst,
    mis_scaled,
    missing_metric,
    nan_burst,
    null_burst,
    oscillation,
    saturation,
    shift,
    spike,
)
from rlhf_assert.testing.strategies.healthy import ORNAMENTS, curves, logs, runs, series, trainings
from rlhf_assert.testing.strategies.hostile import hostile_logs
from rlhf_assert.testing.strategies.records import checkpoints, reward_batches
from rlhf_assert.testing.strategies.search import sample, smallest
from rlhf_assert.testing.synthetic import Anomalous, Change, Curve, RewardBatch, SyntheticCheckpoint, Training

__all__ = [
    "BY_TYPE",
    "ORNAMENTS",
    "anomalous",
    "backward_steps",
    "changes",
    "checkpoints",
    "collapse",
    "curves",
    "drift",
    "duplicated_steps",
    "explosion",
    "freeze",
    "hostile_logs",
    "infinity_burst",
    "logs",
    "mis_scaled",
    "missing_metric",
    "nan_burst",
    "null_burst",
    "oscillation",
    "reward_batches",
    "runs",
    "sample",
    "saturation",
    "series",
    "shift",
    "smallest",
    "spike",
    "trainings",
]

BY_TYPE: dict[type, SearchStrategy[Any]] = {
    Series: series(),
    Run: runs(),
    Row: logs(max_rows=40).map(lambda log: log[-1]),
    Samples: reward_batches().map(lambda batch: batch.samples()),
    Curve: curves(),
    Training: trainings(),
    Change: changes(),
    Anomalous: anomalous(series(), changes()),
    RewardBatch: reward_batches(),
    SyntheticCheckpoint: checkpoints(),
}
"""Type -> what `st.from_type` draws for it; registered by the entry point of the group `hypothesis`."""
