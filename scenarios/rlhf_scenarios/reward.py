"""Reward model: learns to score the chosen answer above the rejected one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_assert import scenario

if TYPE_CHECKING:
    from rlhf_assert_trl.context import Context


@scenario(name="trl-reward", backend="trl", steps=40, tags=("reward",), learns="reward_margin")
def reward(ctx: Context) -> Any:
    """Train a tiny Qwen2 with a new head to score answers by their animals."""
    from trl import RewardConfig, RewardTrainer

    return RewardTrainer(
        model=ctx.tiny_reward_model(),
        processing_class=ctx.tokenizer,
        train_dataset=ctx.preferences(256),
        args=RewardConfig(**ctx.training_arguments(), per_device_train_batch_size=8, learning_rate=3e-4),
    )
