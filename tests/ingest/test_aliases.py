from __future__ import annotations

import pytest

from rlhf_assert.ingest.algorithm import algorithm_of
from rlhf_assert.metrics import ALIASES, canonical_name

TRUNCATION = ["completions/clipped_ratio", "response_length/clip_ratio", "response_clip_ratio", "truncated"]
CLIPPING = [
    "clip_ratio/region_mean",
    "actor/pg_clipfrac",
    "policy/clipfrac_avg",
    "ppo_clip_ratio",
    "train/clip_fraction",
]
REFERENCE = ["kl", "objective/kl", "actor/kl_loss", "critic/kl", "kl_mean", "avg_exact_kl"]
OLD_POLICY = ["actor/ppo_kl", "policy/approxkl_avg", "ppo_kl", "train/approx_kl", "ppo/policy/approxkl"]
NO_METRIC = ["actor/kl_coef", "critic/kl_coeff", "critic/vf_clipfrac", "val/clipfrac_avg", "eval_loss", "eval/reward"]


@pytest.mark.parametrize("prefix", ["", "train/"])
@pytest.mark.parametrize(
    ("keys", "name"),
    [(TRUNCATION, "truncated_fraction"), (CLIPPING, "clip_ratio"), (REFERENCE, "kl_div"), (OLD_POLICY, "approx_kl"),
     (NO_METRIC, None)],
)  # fmt: skip
def test_the_traps_are_kept_apart(keys, name, prefix):
    assert {canonical_name(prefix + key) for key in keys} == {name}


def test_a_key_means_the_same_in_every_table():
    meanings = {}
    for table in ALIASES.values():
        for key, name in table.items():
            assert meanings.setdefault(key, name) == name


def test_the_entropy_loss_of_stable_baselines3_is_turned_back(read):
    run = read([{"time/iterations": s, "train/entropy_loss": -1.5, "rollout/ep_rew_mean": 2.0, "train/loss": 0.1}
                for s in (1, 2)])  # fmt: skip
    assert run.series["entropy"].values.tolist() == [1.5, 1.5]
    assert run.original["train/entropy_loss"].values.tolist() == [-1.5, -1.5]
    openrlhf = read([{"step": s, "entropy_loss": 1.5} for s in (1, 2)])
    assert openrlhf.series["entropy"].values.tolist() == [1.5, 1.5]


def test_of_several_keys_the_first_of_the_table_wins_in_a_row(read):
    run = read(
        [{"step": 1, "objective/rlhf_reward": 1.0, "objective/scores": 2.0}, {"step": 2, "objective/rlhf_reward": 3.0}]
    )
    assert run.series["reward"].values.tolist() == [2.0, 3.0]


@pytest.mark.parametrize(
    ("keys", "algorithm"),
    [
        ("loss grad_norm", ""),
        ("loss mean_token_accuracy", "sft"),
        ("loss rewards/chosen rewards/rejected", "dpo"),
        ("loss rewards/chosen kl", "kto"),
        ("loss chosen_reward reject_reward acc", ""),
        ("loss min_reward max_reward mean_reward accuracy margin", "reward"),
        ("reward reward_std kl completion_length", "grpo"),
        ("train/reward train/frac_reward_zero_std", "grpo"),
        ("objective/kl objective/scores loss/value_avg", "ppo"),
        ("objective/kl objective/scores rewards/chosen", "online-dpo"),
        ("objective/kl objective/rlhf_reward", "rloo"),
        ("actor/pg_loss critic/rewards/mean", "grpo"),
        ("actor/pg_loss critic/vf_loss", "ppo"),
        ("policy_loss reward group_reward_std", "grpo"),
        ("policy_loss critic_loss reward", "ppo"),
        ("train/value_loss rollout/ep_rew_mean", "ppo"),
    ],
)
def test_the_algorithm_is_judged_by_the_keys(keys, algorithm):
    assert algorithm_of(keys.split()) == algorithm


@pytest.mark.parametrize(
    ("chosen", "rejected", "algorithm"),
    [(0.0, 0.0, "dpo"), (-0.31, 0.12, ""), (0.0, 0.2, ""), (None, None, ""), (float("nan"), 0.0, "")],
)
def test_openrlhf_s_dpo_and_reward_model_differ_in_their_first_row(read, chosen, rejected, algorithm):
    rows = [
        {"step": step, "loss": 0.6931, "acc": 0.5, "chosen_reward": chosen, "reject_reward": rejected, "lr": 1e-6}
        if step == 1
        else {"step": step, "loss": 0.6, "acc": 0.7, "chosen_reward": 0.2, "reject_reward": 0.1, "lr": 1e-6}
        for step in range(1, 30)
    ]
    assert read(rows).info["algorithm"] == algorithm
