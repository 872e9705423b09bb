"""Coefficients are implied by identities; each is made here as the algorithm makes it."""

from __future__ import annotations

import numpy as np
import pytest

from rlhf_assert.checked import Status
from rlhf_assert.checks.objective import judge_objective

STEPS, GROUPS, SIZE = 16, 4, 8


def ppo(make_run, *, kl_coef=0.05, vf_coef=0.1, onset=9, **config):
    """A PPO run whose coefficients are others than configured (.05 and .1) from the onset on."""
    noise = np.random.default_rng(0)
    rows, events = [], []
    for step in range(1, STEPS + 1):
        kl, policy, value = noise.uniform(0.5, 1.0), noise.normal(0, 0.01), noise.uniform(0.02, 0.1)
        penalty, weight = (kl_coef, vf_coef) if step >= onset else (0.05, 0.1)
        rows.append(
            {
                "objective/kl": kl,
                "objective/non_score_reward": -penalty * kl,
                "loss/policy_avg": policy,
                "loss/value_avg": value,
            }
        )
        events.append(("objective", step, {"loss": policy + weight * value}))
    known = {"kl_coef": 0.05, "vf_coef": 0.1, "num_mini_batches": 1, **config}
    return judge_objective(make_run(rows, events=events, algorithm="ppo", config=known))


def test_ppo(make_run):
    assert ppo(make_run).status is Status.PASS
    assert ppo(make_run, kl_coef=5.0).anomalies[0].onset == 9
    check = ppo(make_run, vf_coef=100.0)
    assert check.status is Status.FAIL
    assert "vf_coef 100 from step 9 on, configured is 0.1" in check.headline


def test_ppo_with_averages_over_mini_batches_is_not_judged_by_its_loss(make_run):
    assert ppo(make_run, vf_coef=100.0, num_mini_batches=2).status is Status.PASS


def group_run(make_run, algorithm, *, beta=0.04, onset=9, deal=False, infinite=False, **config):
    """A GRPO or RLOO run whose beta is another than configured (.04) from the onset on."""
    noise = np.random.default_rng(0)
    rows, samples = [], []
    for step in range(1, STEPS + 1):
        used = beta if step >= onset else 0.04
        lengths = noise.integers(3, 12, (GROUPS, SIZE)).astype(float)
        rewards = noise.uniform(0, 1, (GROUPS, SIZE))
        ratios = noise.normal(0.02, 0.05, (GROUPS, SIZE))
        scored = rewards - (used * ratios * lengths if algorithm == "rloo" else 0.0)
        lead = scored - scored.mean(1, keepdims=True)
        advantages = lead * SIZE / (SIZE - 1) if algorithm == "rloo" else lead / (lead.std(1, keepdims=True) + 1e-4)
        kl = float(noise.uniform(0.02, 0.1))
        loss = -(advantages * lengths).sum() / lengths.sum() + used * kl
        rows.append({"loss": float(loss), "kl": kl})
        if deal and step >= onset:
            advantages = noise.permutation(advantages.ravel()).reshape(GROUPS, SIZE)
        samples += [
            {
                "step": step,
                "prompt": f"{step}-{group}",
                "length": lengths[group, index],
                "reward": rewards[group, index],
                "advantage": advantages[group, index],
                "logprob": -2.0 + ratios[group, index],
                "ref_logprob": -2.0,
            }
            for group in range(GROUPS)
            for index in range(SIZE)
        ]
    if infinite:
        samples[0]["reward"] = float("inf")
    known = {"beta": 0.04, "per_device_train_batch_size": GROUPS * SIZE, "loss_type": "dapo", **config}
    return judge_objective(make_run(rows, samples=samples, algorithm=algorithm, config=known))


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
@pytest.mark.parametrize("beta", [4.0, -0.04, 0.01])
def test_beta(make_run, algorithm, beta):
    assert group_run(make_run, algorithm).status is Status.PASS
    check = group_run(make_run, algorithm, beta=beta)
    assert (check.status, check.anomalies[0].onset) == (Status.FAIL, 9)


def test_a_loss_of_another_form_is_not_judged(make_run):
    assert group_run(make_run, "grpo", beta=4.0, num_iterations=4).status is Status.SKIPPED
    assert group_run(make_run, "grpo", beta=4.0, loss_type="sapo").status is Status.SKIPPED
    assert group_run(make_run, "grpo", beta=4.0, logging_steps=2).status is Status.SKIPPED
    assert group_run(make_run, "rloo", beta=4.0, normalize_advantages=True).status is Status.SKIPPED


def test_advantages_of_others_are_no_coefficient(make_run):
    assert group_run(make_run, "rloo", deal=True).status is Status.PASS


def test_an_infinite_reward_leaves_the_other_steps_judged(make_run):
    assert group_run(make_run, "rloo", infinite=True).status is Status.PASS
    assert group_run(make_run, "rloo", infinite=True, beta=4.0).status is Status.FAIL


def preference(make_run, algorithm, *, beta=0.1, onset=9, **config):
    """A DPO or KTO run whose beta is another than configured (.1) from the onset on."""
    noise = np.random.default_rng(0)
    rows, events = [], []
    for step in range(1, STEPS + 1):
        reference, distance = noise.normal(-40.0, 2.0), noise.normal(0.1 * step, 0.01)
        used = beta if step >= onset else 0.1
        rows.append({"rewards/chosen": used * distance, "logps/chosen": reference + distance})
        events.append(("reference_logprob", step, {"chosen": reference}))
    loss = {"dpo": ["sigmoid"], "kto": "kto"}[algorithm]
    known = {"beta": 0.1, "loss_type": loss, "gradient_accumulation_steps": 1, "logging_steps": 1, **config}
    return judge_objective(make_run(rows, events=events, algorithm=algorithm, config=known))


@pytest.mark.parametrize("algorithm", ["dpo", "kto"])
@pytest.mark.parametrize("beta", [10.0, -1.0, 0.01])
def test_beta_of_preferences(make_run, algorithm, beta):
    assert preference(make_run, algorithm).status is Status.PASS
    check = preference(make_run, algorithm, beta=beta)
    assert (check.status, check.anomalies[0].onset) == (Status.FAIL, 9)


def test_rewards_of_another_form_and_means_over_batches_are_not_judged(make_run):
    assert preference(make_run, "dpo", beta=10.0, loss_type=["ipo"]).status is Status.SKIPPED
    assert preference(make_run, "kto", beta=10.0, logging_steps=2).status is Status.SKIPPED
    assert preference(make_run, "kto", beta=10.0, gradient_accumulation_steps=2).status is Status.SKIPPED


def test_nothing_recorded(make_run, rows):
    assert judge_objective(make_run(rows)).status is Status.SKIPPED


@pytest.mark.parametrize(("used", "status"), [(0.02, Status.PASS), (0.0, Status.FAIL), (-0.2, Status.FAIL)])
def test_beta_of_a_return_with_the_mean_of_a_group_as_baseline(make_run, used, status):
    random = np.random.default_rng(0)
    rows, records = [], []
    for step in range(1, 9):
        lengths, gap = random.integers(4, 20, 8), random.normal(0.05, 0.02, 8)
        rounding = 1e-9 * random.normal()
        value = -(used if step >= 4 else 0.02) * (gap * lengths).mean() + rounding
        rows.append({"kl": float(gap.mean()), "return": float(value)})
        records += [
            {"step": step, "prompt": "p", "length": int(n), "reward": 0.5, "logprob": -1.0, "ref_logprob": -1.0 - far}
            for n, far in zip(lengths, gap.tolist(), strict=True)
        ]
    config = {
        "beta": 0.02,
        "algo.kl.estimator": "k1",
        "algo.kl.use_loss": False,
        "algo.kl.target": None,
        "rollout.batch_size": 2,
        "rollout.n_samples_per_prompt": 4,
    }
    check = judge_objective(make_run(rows, samples=records, algorithm="reinforce_baseline", config=config))
    assert check.status is status
    if status is Status.FAIL:
        assert check.anomalies[0].onset == 4
    partial = judge_objective(make_run(rows, samples=records[1:], algorithm="reinforce_baseline", config=config))
    assert partial.status is status  # the step of which a sample is missing is not judged
    changed = {**config, "algo.kl.estimator": "k2"}
    unknown = judge_objective(make_run(rows, samples=records, algorithm="reinforce_baseline", config=changed))
    assert unknown.status is Status.SKIPPED
