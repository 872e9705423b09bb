"""SFT: demonstrations of the best answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_assert import scenario

if TYPE_CHECKING:
    from rlhf_assert_trl.context import Context


@scenario(name="trl-sft", backend="trl", steps=40, tags=("sft",), learns="loss")
def sft(ctx: Context) -> Any:
    """Train a tiny Qwen2 on answers that name animals only."""
    from trl import SFTConfig, SFTTrainer

    return SFTTrainer(
        model=ctx.tiny_model(),
        processing_class=ctx.tokenizer,
        train_dataset=ctx.demonstrations(256),
        args=SFTConfig(**ctx.training_arguments(), per_device_train_batch_size=8, learning_rate=5e-4),
    )
