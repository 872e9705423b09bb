"""What an OpenRLHF command trains: its algorithm, the metrics that it must log, and its settings by our names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SUPERVISED = {"train_sft": "sft", "train_rm": "reward", "train_dpo": "dpo"}
"""The commands that need no Ray: one process per device, here one alone."""

_ESTIMATORS = {"gae": "ppo", "group_norm": "grpo"}

_OPTIMIZER = ("loss", "grad_norm", "learning_rate", "step_time")
_PAIR = ("chosen_reward", "rejected_reward", "reward_margin", "reward_accuracy")
_ONLINE = (
    *("policy_loss", "reward", "reward_std", "clip_ratio", "grad_norm", "learning_rate", "response_length"),
    *("truncated_fraction", "advantage", "advantage_std", "step_time"),
)

_NAMES = {
    "learning_rate": "adam.lr",
    "beta": "model.beta",
    "max_grad_norm": "max_norm",
    "per_device_train_batch_size": "train.batch_size",  # of all devices and accumulated, which TRL counts apart
}
_ONLINE_NAMES = {
    "learning_rate": "actor.adam.lr",
    "beta": "algo.kl.init_coef",
    "max_grad_norm": "actor.max_norm",
    "max_new_tokens": "rollout.max_new_tokens",
    "estimator": "algo.advantage.estimator",
    "reward_normalization": "reward.normalize_enable",
    "packing": "ds.packing_samples",
    "zero_stage": "ds.zero_stage",
}


def algorithm_of(entry_point: str, settings: Mapping[str, Any]) -> str:
    """Return the algorithm of a command: of `train_ppo_ray` by its advantage estimator, by our name if there is one."""
    estimator = str(settings.get("algo.advantage.estimator") or "")
    return SUPERVISED.get(entry_point) or _ESTIMATORS.get(estimator, estimator)


def promised_metrics(entry_point: str, settings: Mapping[str, Any]) -> list[str]:
    """Return the canonical metrics that a command of openrlhf 0.11.2 logs, or that the recording adds."""
    algorithm = algorithm_of(entry_point, settings)
    if entry_point in SUPERVISED:
        return [*_OPTIMIZER, *(() if algorithm == "sft" else _PAIR)]
    critic = ("value_loss", "explained_variance") if algorithm == "ppo" else ()
    return [*_ONLINE, *critic, *(("kl_div",) if settings.get("algo.kl.init_coef") else ())]


def configuration(entry_point: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings, and beside them those that judging asks for, by the names that TRL gives them."""
    names = _NAMES if entry_point in SUPERVISED else _ONLINE_NAMES
    config = {**settings, **{ours: settings[theirs] for ours, theirs in names.items() if theirs in settings}}
    if entry_point == "train_dpo":
        config["loss_type"] = "ipo" if settings.get("model.ipo_enable") else "sigmoid"
    if entry_point == "train_ppo_ray":
        config |= {"use_vllm": True, "kl_per_token": True}  # TRL's PPO generates itself, and logs a sum over tokens
        if not settings.get("train.async_enable"):  # else what generates is behind what is trained by design
            config["rollout_kl_estimator"] = "k1"
    return {**config, "entry_point": entry_point}
