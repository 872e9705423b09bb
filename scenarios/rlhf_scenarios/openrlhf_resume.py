"""OpenRLHF interrupted: killed half-way, and launched again from its DeepSpeed checkpoint."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rlhf_assert import scenario
from rlhf_scenarios.openrlhf_reinforce import reinforce

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
    half = (ctx.steps + 1) // 2
    training = reinforce(ctx)
    flags = {**training.flags, "ckpt.save_steps": half, "ckpt.disable_ds": False}
    return replace(training, resume_after=half, flags=flags)
