"""The entry point of the group `hypothesis`, which runs when hypothesis is imported, by whomever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_assert.recording.rows import Row
from rlhf_assert.recording.run import Run, Samples
from rlhf_assert.recording.series import Series
from rlhf_assert.testing.synthetic import Anomalous, Change, Curve, RewardBatch, SyntheticCheckpoint, Training

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

TYPES = (Series, Run, Row, Samples, Curve, Training, Change, Anomalous, RewardBatch, SyntheticCheckpoint)


def register() -> None:
    """Make `st.from_type` draw our types from our strategies, which are imported once one of them is asked for."""
    from hypothesis import strategies as st  # noqa: PLC0415 - hypothesis calls this while it is imported

    for kind in TYPES:
        st.register_type_strategy(kind, _strategy_of)


def _strategy_of(kind: type) -> SearchStrategy[Any]:
    from rlhf_assert.testing.strategies import BY_TYPE  # noqa: PLC0415 - whoever imports it first is not done with it yet

    return BY_TYPE[kind]
