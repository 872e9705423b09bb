"""What DeepSpeed's engines say after the updates of a step: loss scale, overflows, steps that were skipped for them.

The process that trains a model tells it, on rank 0 (`beside`); it becomes part of the next row of metrics.
"""

from __future__ import annotations

from typing import Any

from rlhf_assert_openrlhf.inside.post_import import after, expect_parameters
from rlhf_assert_openrlhf.inside.recording import guarded, tell


def state_of(engine: Any) -> dict[str, float]:
    """Return a DeepSpeed engine's `loss_scale`, `skipped_steps` and `grad_norm` before clipping, as far as it tells."""
    optimizer = engine.optimizer
    scaler = getattr(optimizer, "loss_scaler", None)
    told = {
        "loss_scale": getattr(scaler, "cur_scale", getattr(optimizer, "cur_scale", None)),
        "skipped_steps": getattr(engine, "skipped_steps", None),
        "overflow": getattr(optimizer, "overflow", None),
        "grad_norm": engine.get_global_grad_norm() if hasattr(engine, "get_global_grad_norm") else None,
    }
    return {name: float(value) for name, value in told.items() if value is not None}


def tell_state(model: str, engine: Any) -> None:
    """Tell the state of the engine that trains a model, as `optimizer/MODEL/...`."""
    if engine.global_rank == 0:
        tell("beside", metrics={f"optimizer/{model}/{name}": value for name, value in state_of(engine).items()})


@after("openrlhf.trainer.ray.ppo_actor")
def policy(module: Any) -> None:
    """The policy's updates of a step."""
    trainer = module.ActorPPOTrainer
    original = trainer.ppo_train
    expect_parameters(original, "self", "kl_ctl")

    def ppo_train(self: Any, kl_ctl: float) -> Any:
        status = original(self, kl_ctl)
        guarded(tell_state, "policy", self.actor.model)
        return status

    trainer.ppo_train = ppo_train


@after("openrlhf.trainer.ray.ppo_critic")
def critic(module: Any) -> None:
    """The critic's updates of a step."""
    trainer = module.CriticPPOTrainer
    original = trainer.ppo_train
    expect_parameters(original, "self")

    def ppo_train(self: Any) -> Any:
        status = original(self)
        guarded(tell_state, "critic", self.critic)
        return status

    trainer.ppo_train = ppo_train


HOOKS = (policy, critic)
