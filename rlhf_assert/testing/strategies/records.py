"""Reward batches and checkpoints."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from rlhf_assert.testing.strategies.healthy import seeds
from rlhf_assert.testing.synthetic import Corruption, RewardBatch, RewardFault, SyntheticCheckpoint
from rlhf_assert.testing.synthetic.checkpoint import FOUND_AS, CorruptionKind
from rlhf_assert.testing.synthetic.scores import REWARD_FAULTS


def reward_batches(*faults: RewardFault, min_steps: int = 4, max_steps: int = 20) -> SearchStrategy[RewardBatch]:
    """Descriptions of per-sample rewards, sound (`none`) or with one of the faults; `.samples()` are the records."""
    return st.builds(
        RewardBatch,
        fault=st.sampled_from(faults or REWARD_FAULTS),
        steps=st.integers(min_steps, max_steps),
        groups=st.integers(2, 6),
        size=st.integers(4, 12),
        seed=seeds(),
    )


def checkpoints(*corruptions: CorruptionKind | None) -> SearchStrategy[SyntheticCheckpoint]:
    """Descriptions of checkpoints, sound (None) or with one of the corruptions; `.save(folder)` writes them."""
    kinds = st.sampled_from(corruptions or (None, *FOUND_AS))
    places = st.floats(0.0, 1.0, exclude_max=True)
    return st.builds(
        SyntheticCheckpoint,
        layers=st.integers(1, 4),
        width=st.integers(8, 32),
        sharded=st.booleans(),
        step=st.integers(1, 1000),
        seed=seeds(),
        corruption=st.builds(lambda kind, place: kind and Corruption(kind=kind, place=place), kinds, places),
    )
