"""OpenRLHF's DPO: preference pairs, no generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_assert import scenario

if TYPE_CHECKING:
    from rlhf_assert_openrlhf.context import Context

BATCH = 8


@scenario(name="openrlhf-dpo", backend="openrlhf", steps=40, tags=("dpo",), learns="reward_margin")
def dpo(ctx: Context) -> Any:
    """Train a tiny Qwen2 to prefer answers with more animals."""
    from rlhf_assert_openrlhf import OpenRLHFTraining

    return OpenRLHFTraining(
        entry_point="train_dpo",
        data=ctx.preferences(BATCH * ctx.steps),
        evaluation=ctx.preferences(32, held_out=True),
        flags={
            **ctx.supervised_flags(batch=BATCH),
            "model.beta": 0.1,
            "adam.lr": 5e-4,
        },
    )
