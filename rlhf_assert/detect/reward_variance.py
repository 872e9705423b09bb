"""Whether the completions of a row differ in reward; without any difference there is nothing to learn from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rlhf_assert.recording.rows import Block

Row = Mapping[str, float | None]


def no_variance(row: Row, previous_reward: float | None = None) -> bool | None:
    """Return whether no group of completions has reward variance in this row; None where the row does not tell.

    Args:
        row: canonical metrics.
        previous_reward: reward of the row before; judges, by exact equality, rows that log no spread (PPO).
    """
    share, spread, reward = row.get("zero_std_fraction"), row.get("reward_std"), row.get("reward")
    if share is not None and share >= 0.999:
        return True
    if spread is not None:  # a saturated reward keeps a spread of rounding, 2.5e-7, and a share of 0
        return spread <= 1e-6 * max(1.0, abs(reward or 0.0))
    if share is not None:
        return False
    return None if reward is None or previous_reward is None else reward == previous_reward


def rows_without_variance(block: Block, previous_reward: float | None = None) -> NDArray[np.bool_] | None:
    """Return `no_variance` of each row of a block, shape (n,); None where the rows do not tell."""
    share, spread, reward = (block.metrics.get(name) for name in ("zero_std_fraction", "reward_std", "reward"))
    if spread is not None:
        size = 1.0 if reward is None else np.maximum(1.0, np.abs(reward))
        without = spread <= 1e-6 * size
        return without if share is None else without | (share >= 0.999)
    if share is not None:
        return share >= 0.999
    if reward is None or previous_reward is None:
        return None
    same: NDArray[np.bool_] = reward == np.concatenate(([previous_reward], reward[:-1]))
    return same
