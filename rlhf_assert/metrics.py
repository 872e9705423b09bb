"""The canonical metrics, and how each framework's own keys map to them.

An original key is never renamed away: a row keeps it beside its canonical name, and a key that no table knows is kept
and listed as unmapped.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
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
        "objective/rlhf_reward": "reward",
        "ppo/mean_scores": "reward",
        "env/reward_mean": "reward",
        "ppo/std_scores": "reward_std",
        "env/reward_std": "reward_std",
        "ppo/loss/policy": "policy_loss",
        "ppo/loss/value": "value_loss",
        "ppo/loss/total": "loss",
        "ppo/policy/approxkl": "approx_kl",
        "ppo/policy/clipfrac": "clip_ratio",
        "ppo/policy/entropy": "entropy",
        "ppo/policy/advantages_mean": "advantage",
        "ppo/val/var_explained": "explained_variance",
        "ppo/learning_rate": "learning_rate",
        "tokens/responses_len_mean": "response_length",
    },
    "openrlhf": {
        "kl": "kl_div",
        "ppo_kl": "approx_kl",
        "vllm_kl": "rollout_kl",
        "policy_loss": "policy_loss",
        "critic_loss": "value_loss",
        "loss": "loss",
        "gpt_loss": "loss",
        "reward": "reward",
        "rollout/reward_mean": "reward",
        "score": "reward",
        "group_reward_std": "reward_std",
        "rollout/reward_std": "reward_std",
        "ppo_clip_ratio": "clip_ratio",
        "entropy_loss": "entropy",
        "actor_grad_norm": "grad_norm",
        "grad_norm": "grad_norm",
        "actor_lr": "learning_rate",
        "lr": "learning_rate",
        "response_length": "response_length",
        "rollout/response_length_mean": "response_length",
        "response_clip_ratio": "truncated_fraction",
        "truncated": "truncated_fraction",
        "rollout/truncated_rate": "truncated_fraction",
        "chosen_reward": "chosen_reward",
        "reject_reward": "rejected_reward",
        "acc": "reward_accuracy",
        "timing/step_total": "step_time",
    },
    "verl": {
        "actor/kl_loss": "kl_div",
        "critic/kl": "kl_div",
        "actor/reward_kl_penalty": "kl_div",
        "actor/ppo_kl": "approx_kl",
        "rollout_corr/kl": "rollout_kl",
        "rollout_corr/k3_kl": "rollout_kl",
        "rollout_probs_diff_mean": "rollout_kl",
        "actor/pg_loss": "policy_loss",
        "critic/vf_loss": "value_loss",
        "critic/vf_explained_var": "explained_variance",
        "critic/score/mean": "reward",
        "critic/rewards/mean": "reward",
        "critic/advantages/mean": "advantage",
        "actor/pg_clipfrac": "clip_ratio",
        "actor/entropy": "entropy",
        "actor/entropy_loss": "entropy",
        "actor/grad_norm": "grad_norm",
        "actor/lr": "learning_rate",
        "response_length/mean": "response_length",
        "response_length/clip_ratio": "truncated_fraction",
        "timing_s/step": "step_time",
        "perf/time_per_step": "step_time",
        "perf/throughput": "tokens_per_second",
    },
    "stable-baselines3": {
        "rollout/ep_rew_mean": "reward",
        "train/approx_kl": "approx_kl",
        "train/clip_fraction": "clip_ratio",
        "train/entropy_loss": "entropy",
        "train/explained_variance": "explained_variance",
        "train/policy_gradient_loss": "policy_loss",
        "train/value_loss": "value_loss",
        "train/loss": "loss",
        "train/learning_rate": "learning_rate",
    },
    "other": {
        "kl_mean": "kl_div",
        "avg_exact_kl": "kl_div",
        "kl_divergence": "kl_div",
        "kl_loss": "kl_div",
        "mean_kl": "kl_div",
        "kl/mean": "kl_div",
        "kl_to_ref": "kl_div",
        "kl_ref": "kl_div",
        "ref_kl": "kl_div",
        "approxkl": "approx_kl",
        "pg_loss": "policy_loss",
        "actor_loss": "policy_loss",
        "loss/policy": "policy_loss",
        "vf_loss": "value_loss",
        "v_loss": "value_loss",
        "loss/value": "value_loss",
        "train_loss": "loss",
        "training_loss": "loss",
        "total_loss": "loss",
        "dpo_loss": "loss",
        "reward_mean": "reward",
        "rewards_mean": "reward",
        "avg_reward": "reward",
        "reward_avg": "reward",
        "reward/mean": "reward",
        "rewards/mean": "reward",
        "ep_rew_mean": "reward",
        "episode_reward": "reward",
        "mean_episode_reward": "reward",
        "rewards_std": "reward_std",
        "reward/std": "reward_std",
        "rewards/std": "reward_std",
        "mean_entropy": "entropy",
        "entropy_mean": "entropy",
        "entropy/mean": "entropy",
        "policy_entropy": "entropy",
        "clip_frac": "clip_ratio",
        "clipfrac": "clip_ratio",
        "clip_fraction": "clip_ratio",
        "clip_ratio": "clip_ratio",
        "gradient_norm": "grad_norm",
        "gradnorm": "grad_norm",
        "total_grad_norm": "grad_norm",
        "sequence_length_mean": "response_length",
        "mean_response_length": "response_length",
        "response_length_mean": "response_length",
        "avg_response_length": "response_length",
        "response_len": "response_length",
        "avg_length": "response_length",
        "mean_length": "response_length",
        "truncated_rate": "truncated_fraction",
        "truncation_rate": "truncated_fraction",
        "truncated_ratio": "truncated_fraction",
        "importance_ratio": "ratio",
        "explained_var": "explained_variance",
        "reward_margins": "reward_margin",
        "margins": "reward_margin",
        "reward_accuracies": "reward_accuracy",
        "train_rollout_logprob_abs_diff": "rollout_kl",
        "mismatch_kl": "rollout_kl",
        "mismatch_kl/mean": "rollout_kl",
        "gen_kl_error": "rollout_kl",
    },
}
"""Framework -> original key -> canonical name. Where several keys of one row map to one name, the earliest here wins.

TRL: trl/trainer/*_trainer.py and trl/experimental/ppo/ppo_trainer.py of 1.12.0, and the `ppo/` and `env/` keys of the
PPOTrainer before 0.12. OpenRLHF: openrlhf/trainer of 0.11.2. verl: verl/trainer/ppo/metric_utils.py and core_algos.py.
stable-baselines3: common/on_policy_algorithm.py and ppo/ppo.py; its `train/entropy_loss` is the entropy with the sign
turned, which ingestion turns back. `other`: names in hand-made logs,
and those of slime, prime-rl and NeMo-RL for the distance from the rollout engine.

Traps: `completions/clipped_ratio`, `response_clip_ratio` and `response_length/clip_ratio` are truncation, never
clipping; `critic/vf_clipfrac` and `val/clipfrac_avg` are the clipping of the value, which has no canonical name;
`policy/approxkl_avg`, `ppo_kl` and `actor/ppo_kl` are the KL to the old policy, never the one to the reference;
`actor/kl_coef` and `critic/kl_coeff` are coefficients, no KL. `rollout_kl` is a mean log-ratio or a mean size of it in
nats; verl's `rollout_probs_diff_mean` is a mean difference of probabilities, which is at most as large.
"""

PREFIXES = ("train/", "training/")
"""What loggers put before a trainer's key; `eval/`, `val/` and `test/` are other metrics, and stay unmapped."""


def _ranked() -> dict[str, tuple[str, int]]:
    """Return key -> (canonical name, rank); a key in several tables has the rank of the first."""
    ranked: dict[str, tuple[str, int]] = {}
    for table in ALIASES.values():
        for key, canonical in table.items():
            ranked.setdefault(key, (canonical, len(ranked)))
    return ranked


_PRIORITY = _ranked()


def normalised(key: str) -> str:
    """Return a key as the tables spell it: lower case, no spaces around slashes, other spaces as underscores.

    >>> normalised("Training Loss"), normalised("rewards / chosen")
    ('training_loss', 'rewards/chosen')
    """
    return "/".join("_".join(part.split()) for part in key.lower().split("/"))


@lru_cache(maxsize=4096)
def _find(key: str) -> tuple[str, int] | None:
    if key in METRICS:
        return key, -1
    if key in _PRIORITY:
        return _PRIORITY[key]
    plain = normalised(key)
    for candidate in (plain, *(plain.removeprefix(prefix) for prefix in PREFIXES if plain.startswith(prefix))):
        if candidate in _PRIORITY:
            return _PRIORITY[candidate]
        if candidate in METRICS:
            return candidate, len(_PRIORITY)
    return None


def canonical_name(key: str) -> str | None:
    """Return the canonical name of a framework's own key, or None if no table knows it.

    Case and spaces do not matter, nor does a `train/` before the key.
    """
    entry = _find(key)
    return entry[0] if entry else None


def is_known(key: str) -> bool:
    """Return whether a key stands in the tables just as it is spelt; much faster than `canonical_name`."""
    return key in _PRIORITY or key in METRICS


def key_priority(key: str) -> int:
    """Return which of several keys with one canonical name wins in a row: the lowest."""
    entry = _find(key)
    return entry[1] if entry else -1


def label(name: str) -> str:
    """Return the short word that reports print for a canonical metric; an unknown name is its own label."""
    metric = METRICS.get(name)
    return metric.label if metric else name
