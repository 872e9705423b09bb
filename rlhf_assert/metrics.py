"""The canonical metrics, and how each framework's own keys map to them.

An original key is never renamed away: a row keeps it beside its canonical name, and a key that no table knows is kept
and listed as unmapped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["up", "down", "steady", "any"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One canonical metric.

    Attributes:
        name: canonical name, as in `metrics.jsonl`.
        label: the short word that reports print.
        unit: unit of the value, empty where it has none.
        direction: where a sound training moves it; "any" where that depends on the algorithm.
    """

    name: str
    label: str
    unit: str = ""
    direction: Direction = "any"


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("kl_div", "kl", "nats", "steady"),
        Metric("approx_kl", "approx_kl", "nats", "steady"),
        Metric("policy_loss", "policy_loss"),
        Metric("value_loss", "value_loss", "", "down"),
        Metric("loss", "loss"),
        Metric("reward", "reward", "", "up"),
        Metric("reward_std", "reward_std"),
        Metric("clip_ratio", "clip_ratio", "share", "steady"),
        Metric("ratio", "ratio", "", "steady"),
        Metric("entropy", "entropy", "nats", "steady"),
        Metric("advantage", "advantage"),
        Metric("advantage_std", "advantage_std"),
        Metric("explained_variance", "explained_variance", "", "up"),
        Metric("grad_norm", "grad_norm", "", "steady"),
        Metric("learning_rate", "learning_rate"),
        Metric("response_length", "length", "tokens"),
        Metric("truncated_fraction", "truncated", "share", "steady"),
        Metric("zero_std_fraction", "zero_std", "share", "steady"),
        Metric("rollout_kl", "rollout_kl", "nats", "steady"),
        Metric("chosen_reward", "chosen_reward", "", "up"),
        Metric("rejected_reward", "rejected_reward", "", "down"),
        Metric("reward_margin", "margin", "", "up"),
        Metric("reward_accuracy", "accuracy", "share", "up"),
        Metric("step_time", "step_time", "s", "steady"),
        Metric("tokens_per_second", "tokens_per_second", "tokens/s", "steady"),
        Metric("vllm_latency", "vllm_latency", "s", "steady"),
        Metric("vllm_throughput", "vllm_throughput", "tokens/s", "steady"),
        Metric("ray_actor_utilization", "ray_actor_utilization", "share"),
        Metric("memory_rss", "memory_rss", "bytes", "steady"),
        Metric("memory_vms", "memory_vms", "bytes", "steady"),
        Metric("gpu_memory", "gpu_memory", "bytes", "steady"),
        Metric("gpu_utilization", "gpu_utilization", "share"),
        Metric("cpu_utilization", "cpu_utilization", "share"),
        Metric("kl_policy_ratio", "kl/policy"),
        Metric("value_policy_ratio", "value/policy"),
        Metric("advantage_reward_ratio", "advantage/reward"),
    )
}

DERIVED: dict[str, tuple[str, str]] = {
    "kl_policy_ratio": ("kl_div", "policy_loss"),
    "value_policy_ratio": ("value_loss", "policy_loss"),
    "advantage_reward_ratio": ("advantage", "reward"),
}
"""Derived metric -> (numerator, denominator); GRPO-like logs use `loss` where no `policy_loss` is logged."""

ALIASES: dict[str, dict[str, str]] = {
    "trl": {
        "kl": "kl_div",
        "objective/kl": "kl_div",
        "policy/approxkl_avg": "approx_kl",
        "loss/policy_avg": "policy_loss",
        "loss/value_avg": "value_loss",
        "loss": "loss",
        "reward": "reward",
        "objective/scores": "reward",
        "reward_std": "reward_std",
        "clip_ratio/region_mean": "clip_ratio",
        "policy/clipfrac_avg": "clip_ratio",
        "val/ratio": "ratio",
        "entropy": "entropy",
        "policy/entropy_avg": "entropy",
        "objective/entropy": "entropy",
        "advantage": "advantage",
        "advantage_std": "advantage_std",
        "grad_norm": "grad_norm",
        "learning_rate": "learning_rate",
        "lr": "learning_rate",
        "completions/mean_length": "response_length",
        "completion_length": "response_length",
        "completions/clipped_ratio": "truncated_fraction",
        "frac_reward_zero_std": "zero_std_fraction",
        "sampling/sampling_logp_difference/mean": "rollout_kl",
        "rewards/chosen": "chosen_reward",
        "rewards/rejected": "rejected_reward",
        "rewards/margins": "reward_margin",
        "rewards/accuracies": "reward_accuracy",
        "margin": "reward_margin",
        "accuracy": "reward_accuracy",
        "step_time": "step_time",
    },
}
"""Framework -> original key -> canonical name. Where several keys of one row map to one name, the earliest here wins.

TRL: trl/trainer/*_trainer.py and trl/experimental/ppo/ppo_trainer.py of 1.12.0. `completions/clipped_ratio` is
truncation, never clipping; `policy/approxkl_avg` is the KL to the old policy, never the one to the reference.
"""

_PRIORITY = {
    key: (canonical, rank) for table in ALIASES.values() for rank, (key, canonical) in enumerate(table.items())
}


def canonical_name(key: str) -> str | None:
    """Return the canonical name of a framework's own key, or None if no table knows it."""
    if key in METRICS:
        return key
    found = _PRIORITY.get(key)
    return found[0] if found else None


def key_priority(key: str) -> int:
    """Return which of several keys with one canonical name wins in a row: the lowest."""
    found = _PRIORITY.get(key)
    return found[1] if found and key not in METRICS else -1


def label(name: str) -> str:
    """Return the short word that reports print for a canonical metric; an unknown name is its own label."""
    metric = METRICS.get(name)
    return metric.label if metric else name
