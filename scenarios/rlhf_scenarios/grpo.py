"""GRPO: groups of 8 completions per prompt, rewarded by a function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_assert import scenario

if TYPE_CHECKING:
    from rlhf_assert_trl.context import Context


@scenario(name="trl-grpo", backend="trl", steps=30, tags=("grpo",), learns="reward")
def grpo(ctx: Context) -> Any:
    """Train a tiny Qwen2 to name animals, held to its start by beta."""
    from trl import GRPOConfig, GRPOTrainer

    return GRPOTrainer(
        model=ctx.tiny_model(),
        processing_class=ctx.tokenizer,
        reward_funcs=ctx.reward_function,
        train_dataset=ctx.prompts(64),
        args=GRPOConfig(
            **ctx.training_arguments(),
            per_device_train_batch_size=32,
            num_generations=8,
            max_completion_length=24,
            learning_rate=7e-4,
            beta=0.04,
        ),
    )
