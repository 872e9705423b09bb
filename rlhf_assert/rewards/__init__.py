"""Rewards: how far they can be relied on, one phenomenon a module."""

from __future__ import annotations

from rlhf_assert.rewards.estimates import Estimate
from rlhf_assert.rewards.reliability import RewardReliability, assess_rewards

__all__ = ["Estimate", "RewardReliability", "assess_rewards"]
