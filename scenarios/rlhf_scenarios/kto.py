"""KTO: single answers, each marked as good or poor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_assert import scenario

if TYPE_CHECKING:
    from rlhf_assert_trl.context import Context


@scenario(name="trl-kto", backend="trl", steps=40, tags=("kto",), learns="reward_margin")
def kto(ctx: Context) -> Any:
    """Train a tiny Qwen2 towards answers with more animals."""
    from trl import KTOConfig, KTOTrainer

    return KTOTrainer(
        model=ctx.tiny_model(),
        processing_class=ctx.tokenizer,
        train_dataset=ctx.unpaired_preferences(256),
        args=KTOConfig(**ctx.training_arguments(), per_device_train_batch_size=8, learning_rate=2e-4, beta=0.1),
    )
