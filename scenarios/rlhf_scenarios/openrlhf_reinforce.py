"""OpenRLHF's REINFORCE++ with a baseline: a policy, its reference, one vLLM engine, and a reward function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_assert import scenario

if TYPE_CHECKING:
    from rlhf_assert_openrlhf.context import Context


@scenario(
    name="openrlhf-reinforce",
    backend="openrlhf",
    steps=24,
    tags=("reinforce",),
    learns="reward",
    promises=("entropy", "rollout_kl"),
    time_limit=600.0,
)
def reinforce(ctx: Context) -> Any:
    """Train a tiny Qwen2 to name animals: each reward less the mean of its group, held to its start by a KL penalty."""
    from rlhf_assert_openrlhf import OpenRLHFTraining

    return OpenRLHFTraining(
        entry_point="train_ppo_ray",
        prompts=ctx.prompts(8 * ctx.steps),
        reward=ctx.reward_function,
        flags={
            **ctx.training_flags(prompts_per_step=8, samples_per_prompt=8),
            "algo.advantage.estimator": "reinforce_baseline",
            "algo.kl.init_coef": 0.02,
            "actor.adam.lr": 1e-3,
        },
    )
