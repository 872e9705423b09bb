"""OpenRLHF asynchronous: the engine goes on generating while the policy trains, and converses in two turns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_assert import scenario

if TYPE_CHECKING:
    from rlhf_assert_openrlhf.context import Context


@scenario(
    name="openrlhf-async",
    backend="openrlhf",
    steps=24,
    tags=("rloo", "async", "agent"),
    learns="reward",
    promises=("entropy", "rollout_kl"),
    time_limit=600.0,
)
def asynchronous(ctx: Context) -> Any:
    """RLOO: train a tiny Qwen2 to name animals in two turns, which older weights may have begun (partial rollout)."""
    from rlhf_assert_openrlhf import OpenRLHFTraining

    return OpenRLHFTraining(
        entry_point="train_ppo_ray",
        prompts=ctx.prompts(8 * ctx.steps),
        flags={
            **ctx.training_flags(prompts_per_step=8, samples_per_prompt=8),
            "train.async_enable": True,
            "train.partial_rollout_enable": True,
            "train.agent_func_path": str(ctx.agent),
            "data.max_len": 96,
            "rollout.max_new_tokens": None,  # what is left of max_len; a turn has no limit of its own
            "algo.advantage.estimator": "rloo",
            "algo.kl.init_coef": 0.02,
            "actor.adam.lr": 1e-3,
        },
    )
