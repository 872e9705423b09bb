"""PPO: a policy, its reference, a value model and a reward model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_assert import scenario

if TYPE_CHECKING:
    from rlhf_assert_trl.context import Context

BATCH = 32


@scenario(
    name="trl-ppo",
    backend="trl",
    steps=30,
    tags=("ppo",),
    learns="reward",
    requires=("trl<1.13",),
    reason="later versions have no PPOTrainer",
)
def ppo(ctx: Context) -> Any:
    """Train a tiny Qwen2 to name animals; PPO counts episodes, a batch of them per step."""
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    return PPOTrainer(
        model=ctx.tiny_model(),
        ref_model=ctx.tiny_model(),
        value_model=ctx.tiny_value_model(),
        reward_model=ctx.reward_module(),
        processing_class=ctx.tokenizer,
        train_dataset=ctx.tokenized_prompts(64),
        args=PPOConfig(
            **ctx.training_arguments(),
            total_episodes=ctx.steps * BATCH,
            per_device_train_batch_size=BATCH,
            num_ppo_epochs=2,
            num_sample_generations=0,
            response_length=24,
            stop_token="eos",  # noqa: S106 - a token of text
            temperature=1.0,
            learning_rate=5e-4,
            kl_coef=0.05,
        ),
    )
