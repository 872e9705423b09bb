"""OpenRLHF interrupted: killed half-way, and launched again from its DeepSpeed checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_assert import scenario

if TYPE_CHECKING:
    from rlhf_assert_openrlhf.context import Context


@scenario(
    name="openrlhf-resume",
    backend="openrlhf",
    steps=24,
    tags=("reinforce", "resume"),
    learns="reward",
    promises=("entropy", "rollout_kl"),
    time_limit=1200.0,  # two launches
)
def resume(ctx: Context) -> Any:
    """Train a tiny Qwen2 to name animals as `openrlhf-reinforce` does, but in two processes, one after the other."""
    from rlhf_assert_openrlhf import OpenRLHFTraining

    half = (ctx.steps + 1) // 2
    return OpenRLHFTraining(
        entry_point="train_ppo_ray",
        prompts=ctx.prompts(8 * ctx.steps),
        reward=ctx.reward_function,
        resume_after=half,
        flags={
            **ctx.training_flags(prompts_per_step=8, samples_per_prompt=8),
            "ckpt.save_steps": half,
            "ckpt.disable_ds": False,
            "algo.advantage.estimator": "reinforce_baseline",
            "algo.kl.init_coef": 0.02,
            "actor.adam.lr": 1e-3,
        },
    )
