"""The reward check: each fault of a reward fails it with its cause, and a sound run does not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rlhf_assert.causes.explaining import explain
from rlhf_assert.checked import Status
from rlhf_assert.checks import reward_reliability
from rlhf_assert.errors import UsageError


def judge_rewards(run, **options):
    return explain(run, reward_reliability.judge_rewards(run, **options))


def records(reward, *, steps=40, growth=0.3, sign=1.0, seed=0, function="my_reward"):
    """Return the records of a GRPO run: 4 prompts of 8 completions a step."""
    noise = np.random.default_rng(seed)
    found = []
    for step in range(1, steps + 1):
        for prompt in range(4):
            lengths = np.clip(noise.normal(20 + growth * step, 5, 8).round(), 1, None)
            values = np.asarray(reward(noise, step, lengths), dtype=np.float64)
            for length, value in zip(lengths, values, strict=True):
                found.append(
                    {
                        "step": step, "prompt": f"p{step}-{prompt}", "length": float(length), "truncated": 0.0,
                        "reward": float(value), "rewards": {function: float(value)},
                        "advantage": float(sign * (value - values.mean())), "text": f"the cat {noise.integers(1e9)}",
                    }
                )  # fmt: skip
    return found


def sound(noise, step, lengths):
    return noise.normal(0.02 * step, 1.0, 8)


def by_length(noise, step, lengths):
    return lengths / 20 + noise.normal(0, 0.05, 8)


def assert_readable(check):
    assert check.name == "rewards"
    assert "\n" not in check.headline
    assert len(check.headline) <= 110
    assert all(len(line) <= 80 for line in (*check.evidence, *check.samples)), check


def judge_fault(run, **options):
    check = judge_rewards(run, **options)
    assert check.status is Status.FAIL, check
    assert check.cause
    assert check.remedy
    assert_readable(check)
    return check


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_a_sound_reward_passes(make_run, rows, seed, algorithm):
    check = judge_rewards(make_run(rows, samples=records(sound, seed=seed), algorithm=algorithm))
    assert check.status is Status.PASS
    assert check.note.startswith("rising; r(length) ")
    assert_readable(check)


@pytest.mark.parametrize("quality", [0.3, 1.0])
def test_a_reward_that_somewhat_likes_length_passes(make_run, rows, quality):
    run = make_run(rows, samples=records(lambda n, s, x: x / 20 + n.normal(0.02 * s, quality, 8)))
    assert judge_rewards(run).status is Status.PASS


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_one_bad_sample_fails_and_is_placed(make_run, rows, bad):
    spoilt = records(sound)
    spoilt[700]["rewards"]["my_reward"] = bad
    check = judge_fault(make_run(rows, samples=spoilt))
    assert "my_reward" in check.headline
    assert "step 22, 1 of 1280 completions" in check.headline
    assert check.samples


def test_a_bad_sample_fails_a_run_that_is_otherwise_too_short(make_run):
    spoilt = records(sound, steps=1)
    spoilt[3]["reward"] = math.nan
    assert "not finite" in judge_fault(make_run(samples=spoilt)).headline


def test_a_constant_reward_fails(make_run, rows):
    run = make_run(rows, samples=records(lambda n, s, x: np.full(8, 0.5)))
    check = judge_fault(run)
    assert check.headline == "reward is constant: 0.50 in all 1280 completions, nothing to learn from"
    assert "my_reward" in str(check.cause)
    assert judge_rewards(run, allow=["constant"]).status is Status.PASS


def normalization(mean, std):
    return [("reward_normalization", 1, {"mean": mean, "std": std, "saved_mean": 0.5, "saved_std": 2.0})]


@pytest.mark.parametrize(("mean", "std"), [(2.5e-21, -1.46e25), (0.0, 1.0), (0.5, math.nan), (3.0, 2.0)])
def test_a_reward_model_that_does_not_normalize_as_it_was_saved_fails(make_run, rows, mean, std):
    constant = records(lambda n, s, x: np.full(8, 1e-25))  # what is so divided is one value, which is told before it
    check = judge_fault(make_run(rows, samples=constant, events=normalization(mean, std)))
    assert check.headline.startswith("rewards are normalized by mean ")
    assert check.headline.endswith("saved are mean 0.5 and deviation 2")
    assert str(check.cause).startswith(f"the reward model normalizes by mean {mean:.3g} and deviation {std:.3g}, its")
    assert check.anomalies[0].onset == 1


@pytest.mark.parametrize(("mean", "std"), [(0.5, 2.0), (0.502, 1.99)])
def test_a_reward_model_that_normalizes_as_it_was_saved_passes(make_run, rows, mean, std):
    run = make_run(rows, samples=records(sound), events=normalization(mean, std))
    assert judge_rewards(run).status is Status.PASS


def test_a_reward_of_the_prompt_alone_fails(make_run, rows):
    check = judge_fault(make_run(rows, samples=records(lambda n, s, x: np.full(8, n.normal()))))
    assert "within every group" in check.headline


def test_a_reward_for_length_fails(make_run, rows):
    run = make_run(rows, samples=records(by_length, function="len_reward"))
    check = judge_fault(run)
    assert check.headline.startswith("reward follows length, not quality: r 0.9")
    assert "rewards[0] len_reward, 100 % of the reward's variance" in str(check.cause)
    assert any("at equal length the reward rose" in line for line in check.evidence)
    assert len(check.samples) == 2
    assert check.override == 'assert_rewards_reliable(allow=["length"])'
    assert judge_rewards(run, allow=["length"]).status is Status.PASS


def test_the_function_that_pays_for_length_is_named(make_run, rows):
    def spread(record, noise):
        quality = noise.normal(0, 0.1)
        record["rewards"] = {"quality": quality, "len_reward": record["reward"]}
        record["reward"] += quality
        return record

    noise = np.random.default_rng(3)
    check = judge_fault(make_run(rows, samples=[spread(record, noise) for record in records(by_length)]))
    assert "rewards[1] len_reward" in str(check.cause)


def test_negated_advantages_fail(make_run, rows):
    check = judge_fault(make_run(rows, samples=records(sound, sign=-1.0)))
    assert check.headline.startswith("advantages go against their rewards from step 1 on: r -1.00")


@pytest.mark.parametrize(("sign", "status"), [(1.0, Status.PASS), (-1.0, Status.FAIL)])
def test_advantages_are_compared_with_returns_where_there_are_some(make_run, rows, sign, status):
    found = records(sound)
    for number, record in enumerate(found):
        record["return"] = 3.0 * record["advantage"] - 0.1 * (number % 7)  # a KL penalty, of a run with a large one
        record["advantage"] = sign * (record["return"] + 0.5)
    check = judge_rewards(make_run(rows, samples=found, algorithm="reinforce"))
    assert check.status is status
    assert ("returns from step 1 on: r -1.00" in check.headline) == (status is Status.FAIL)


def test_shuffled_advantages_fail(make_run, rows):
    shuffled = records(sound)
    values = np.random.default_rng(0).permutation([record["advantage"] for record in shuffled])
    for record, value in zip(shuffled, values, strict=True):
        record["advantage"] = float(value)
    assert "do not follow" in judge_fault(make_run(rows, samples=shuffled)).headline


def test_a_random_reward_fails_where_completions_repeat(make_run, rows):
    def repeated(reward):
        found = records(reward)
        for rank, record in enumerate(found):
            record.update(text=f"answer {rank % 20:02}", length=10.0, prompt=f"p{rank % 5}")
        found[0]["text"] = "the longest of all texts"
        return found

    run = make_run(rows, samples=repeated(lambda n, s, x: n.normal(0, 1, 8)), algorithm="ppo")
    check = judge_fault(run)
    assert check.headline.startswith("equal completions get unlike rewards")
    assert judge_rewards(run, allow=["inconsistent"]).status is Status.PASS


def test_few_samples_are_insufficient(make_run):
    check = judge_rewards(make_run(samples=records(sound, steps=3)))
    assert check.status is Status.INSUFFICIENT
    assert "in 3 steps" in check.headline


def test_sft_has_no_reward(make_run, rows):
    assert judge_rewards(make_run(rows, algorithm="sft")).status is Status.SKIPPED


def test_no_samples_and_no_reward_is_skipped(make_run):
    assert judge_rewards(make_run([{"loss": 1.0}] * 10)).status is Status.SKIPPED


def test_rows_alone_can_fail_but_not_pass(make_run, rows):
    assert judge_rewards(make_run(rows)).status is Status.SKIPPED
    rows[12]["reward"] = None
    assert "reward is not finite from step 13" in judge_fault(make_run(rows)).headline


def test_rows_of_a_constant_reward_fail(make_run, rows):
    for row in rows:
        row.update(reward=0.5, reward_std=0.0)
    assert "constant" in judge_fault(make_run(rows)).headline


def preference_rows(margin, chosen=0.1):
    return [
        {"loss": 0.6, "rewards/margins": margin(step), "rewards/chosen": chosen * step, "rewards/rejected": 0.0}
        for step in range(20)
    ]


@pytest.mark.parametrize("algorithm", ["dpo", "kto", "reward"])
def test_preferences_are_judged_by_their_margin(make_run, algorithm):
    sound_run = make_run(preference_rows(lambda step: 0.1 * step), algorithm=algorithm)
    assert judge_rewards(sound_run).status is Status.PASS
    check = judge_fault(make_run(preference_rows(lambda step: 0.0), algorithm=algorithm))
    assert str(check.cause) == "likely: chosen and rejected answers are identical"


def test_a_margin_that_is_no_number(make_run):
    broken = make_run(preference_rows(lambda step: math.nan if step == 7 else 0.1), algorithm="dpo")
    assert "margin is not finite from step 8" in judge_fault(broken).headline
    kto = make_run(preference_rows(lambda step: math.nan if step == 7 else 0.1 * step), algorithm="kto")
    assert judge_rewards(kto).status is Status.PASS  # a batch of one kind has no margin


def test_an_unknown_word_is_an_error_with_a_suggestion(make_run):
    with pytest.raises(UsageError, match="did you mean length"):
        judge_rewards(make_run(), allow=["lenght"])
