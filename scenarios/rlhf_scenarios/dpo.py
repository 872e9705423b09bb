"""DPO: preference pairs, no generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_assert import scenario

if TYPE_CHECKING:
    from rlhf_assert_trl.context import Context


@scenario(name="trl-dpo", backend="trl", steps=40, tags=("dpo",), learns="reward_margin")
def dpo(ctx: Context) -> Any:
    """Train a tiny Qwen2 to prefer answers with more animals."""
    from trl import DPOConfig, DPOTrainer

    return DPOTrainer(
        model=ctx.tiny_model(),
        processing_class=ctx.tokenizer,
        train_dataset=ctx.preferences(256),
        args=DPOConfig(**ctx.training_arguments(), per_device_train_batch_size=8, learning_rate=2e-4, beta=0.1),
    )
