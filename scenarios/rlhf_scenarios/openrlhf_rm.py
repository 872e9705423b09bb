"""OpenRLHF's reward model: learns to score the chosen answer above the rejected one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_assert import scenario

if TYPE_CHECKING:
    from rlhf_assert_openrlhf.context import Context

BATCH = 8


@scenario(name="openrlhf-rm", backend="openrlhf", steps=40, tags=("reward",), learns="reward_margin")
def reward_model(ctx: Context) -> Any:
    """Train a tiny Qwen2 with a new head to score answers by their animals."""
    from rlhf_assert_openrlhf import OpenRLHFTraining

    return OpenRLHFTraining(
        entry_point="train_rm",
        data=ctx.preferences(BATCH * ctx.steps),
        evaluation=ctx.preferences(32, held_out=True),
        flags={
            **ctx.supervised_flags(batch=BATCH),
            "adam.lr": 1e-3,
        },
    )
