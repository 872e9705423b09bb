"""Online DPO: two completions per prompt, the better one by a reward function is the chosen one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_assert import scenario

if TYPE_CHECKING:
    from rlhf_assert_trl.context import Context


@scenario(name="trl-online-dpo", backend="trl", steps=30, tags=("online-dpo",), learns="reward")
def online_dpo(ctx: Context) -> Any:
    """Train a tiny Qwen2 to name animals, from pairs of its own completions."""
    from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

    return OnlineDPOTrainer(
        model=ctx.tiny_model(),
        processing_class=ctx.tokenizer,
        reward_funcs=ctx.reward_function,
        train_dataset=ctx.prompts(64),
        args=OnlineDPOConfig(
            **ctx.training_arguments(),
            per_device_train_batch_size=16,
            max_new_tokens=24,
            max_length=64,
            learning_rate=7e-4,
            warmup_steps=4,
            beta=0.1,
        ),
    )
