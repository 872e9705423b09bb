"""OpenRLHF's PPO: a policy, its reference, a critic, a reward model, and one vLLM engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_assert import scenario
from rlhf_scenarios.openrlhf_rm import reward_model

if TYPE_CHECKING:
    from rlhf_assert_openrlhf.context import Context


@scenario(
    name="openrlhf-ppo",
    backend="openrlhf",
    steps=24,
    tags=("ppo",),
    learns="reward",
    promises=("entropy", "rollout_kl"),
    time_limit=600.0,
)
def ppo(ctx: Context) -> Any:
    """Train a tiny Qwen2 to name animals: rewarded by the model that `openrlhf-rm` trains, advantages by GAE.

    Each batch is trained on twice, as a critic of so few steps needs; from the second time on PPO clips.
    """
    from rlhf_assert_openrlhf import OpenRLHFTraining

    return OpenRLHFTraining(
        entry_point="train_ppo_ray",
        prompts=ctx.prompts(16 * ctx.steps),
        flags={
            **ctx.training_flags(prompts_per_step=16, samples_per_prompt=4),
            **ctx.critic_flags(),
            "reward.model_name_or_path": str(ctx.trained(reward_model)),
            "algo.advantage.estimator": "gae",
            "algo.advantage.lambd": 0.95,
            "algo.kl.init_coef": 0.05,
            "train.max_epochs": 2,
            "actor.adam.lr": 7e-4,
            "critic.adam.lr": 4e-3,
        },
    )
