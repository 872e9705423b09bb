"""OpenRLHF's SFT: demonstrations of the best answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlhf_assert import scenario

if TYPE_CHECKING:
    from rlhf_assert_openrlhf.context import Context

BATCH = 8


@scenario(name="openrlhf-sft", backend="openrlhf", steps=60, tags=("sft",), learns="loss")
def sft(ctx: Context) -> Any:
    """Train a tiny Qwen2 on answers that name animals only."""
    from rlhf_assert_openrlhf import OpenRLHFTraining

    return OpenRLHFTraining(
        entry_point="train_sft",
        data=ctx.demonstrations(BATCH * ctx.steps),
        evaluation=ctx.demonstrations(32, held_out=True),
        flags={
            **ctx.supervised_flags(batch=BATCH),
            "adam.lr": 5e-4,
        },
    )
