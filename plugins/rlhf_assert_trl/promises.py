"""Which algorithm a trainer runs, and which canonical metrics it must log."""

from __future__ import annotations

from typing import Any

ALGORITHMS = {
    "PPOTrainer": "ppo",
    "GRPOTrainer": "grpo",
    "RLOOTrainer": "rloo",
    "OnlineDPOTrainer": "online-dpo",
    "DPOTrainer": "dpo",
    "KTOTrainer": "kto",
    "RewardTrainer": "reward",
    "SFTTrainer": "sft",
}
_OPTIMIZER = ("loss", "grad_norm", "learning_rate")
_GROUP = (
    *_OPTIMIZER,
    *("reward", "reward_std", "zero_std_fraction", "entropy", "clip_ratio", "response_length", "truncated_fraction"),
    "step_time",
)
_PAIR = ("chosen_reward", "rejected_reward", "reward_margin")
_PROMISED: dict[str, tuple[str, ...]] = {
    "ppo": (
        *("reward", "kl_div", "approx_kl", "policy_loss", "value_loss", "entropy", "clip_ratio", "ratio"),
        "learning_rate",
    ),
    "grpo": _GROUP,
    "rloo": _GROUP,
    "online-dpo": (*_OPTIMIZER, *_PAIR, "reward_accuracy", "reward", "kl_div", "entropy"),
    "dpo": (*_OPTIMIZER, *_PAIR, "reward_accuracy", "entropy"),
    "kto": (*_OPTIMIZER, *_PAIR, "kl_div", "entropy"),
    "reward": (*_OPTIMIZER, "reward_margin", "reward_accuracy"),
    "sft": (*_OPTIMIZER, "entropy"),
}


def algorithm_of(trainer: Any) -> str:
    """Return the algorithm by the trainer's class or the nearest base that is known, "" if none is."""
    return next((ALGORITHMS[base.__name__] for base in type(trainer).__mro__ if base.__name__ in ALGORITHMS), "")


def promised_metrics(trainer: Any) -> tuple[str, ...]:
    """Return the canonical metrics that this trainer, configured as it is, must log; () for an unknown trainer.

    Source: the trainers of TRL 1.12.0 and 1.16.0, which log the same keys; GRPO and RLOO log `kl` only for beta != 0.
    """
    algorithm = algorithm_of(trainer)
    promised = _PROMISED.get(algorithm, ())
    if algorithm in {"grpo", "rloo"} and getattr(trainer.args, "beta", 0.0) != 0.0:
        promised += ("kl_div",)
    return promised
