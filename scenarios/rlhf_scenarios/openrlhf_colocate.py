"""OpenRLHF with everything in one place: two data-parallel ranks and two vLLM engines share their GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_assert import scenario

if TYPE_CHECKING:
    from rlhf_assert_openrlhf.context import Context

RANKS = 2


@scenario(
    name="openrlhf-colocate",
    backend="openrlhf",
    steps=24,
    tags=("reinforce", "colocate"),
    learns="reward",
    promises=("entropy", "rollout_kl"),
    time_limit=600.0,
)
def colocate(ctx: Context) -> Any:
    """Train a tiny Qwen2 to name animals on two ranks of ZeRO-2, each with its half of the batch, and save an average.

    The KL penalty is a loss (k3), as in GRPO. What is saved is the moving average of the weights (EMA), a tenth of the
    way behind: `train.ema_beta` says how far.
    """
    from rlhf_assert_openrlhf import OpenRLHFTraining

    flags = ctx.training_flags(prompts_per_step=8, samples_per_prompt=8)
    share = flags["train.batch_size"] // RANKS
    return OpenRLHFTraining(
        entry_point="train_ppo_ray",
        prompts=ctx.prompts(8 * ctx.steps),
        reward=ctx.reward_function,
        flags={
            **flags,
            "train.colocate_all": True,
            "actor.num_gpus_per_node": RANKS,
            "ref.num_gpus_per_node": RANKS,
            "vllm.num_engines": RANKS,
            "rollout.micro_batch_size": share,
            "train.micro_batch_size": share,
            "train.enable_ema": True,
            "train.ema_beta": 0.9,
            "algo.advantage.estimator": "group_norm",
            "algo.kl.init_coef": 0.02,
            "algo.kl.use_loss": True,
            "algo.kl.estimator": "k3",
            "actor.adam.lr": 1e-3,
        },
    )
