"""Each number of the assessment against its definition, and against the case that it exists to tell."""

from __future__ import annotations

import math

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.stats
from hypothesis import HealthCheck, given, settings

from rlhf_assert.rewards import assess_rewards
from rlhf_assert.rewards.estimates import number_off


def sound(noise, step, length):
    return noise.normal(0.02 * step, 1.0)


def by_length(noise, step, length):
    return 0.05 * length + noise.normal(0, 0.05, len(step))


def test_a_sound_reward(samples):
    found = assess_rewards(samples(sound))
    assert not found.missing
    assert not found.recommendations
    assert found.constant is None
    assert found.stability.value > 0.95
    assert found.within_group.value > 0.9
    assert found.saturation.value == 0.0
    assert found.advantage.value == pytest.approx(1.0)
    assert not found.length.follows


def test_the_correlations_are_those_of_scipy(samples):
    data = samples(lambda noise, step, length: 0.1 * length + noise.normal(0, 1, len(step)))
    found = assess_rewards(data).length
    assert found.pearson.value == pytest.approx(scipy.stats.pearsonr(data.length, data.reward).statistic)
    assert found.spearman.value == pytest.approx(scipy.stats.spearmanr(data.length, data.reward).statistic)
    centred = [
        np.concatenate([column[data.step == step] - column[data.step == step].mean() for step in np.unique(data.step)])
        for column in (data.length, data.reward)
    ]
    assert found.within_step.value == pytest.approx(np.corrcoef(*centred)[0, 1])
    for estimate in (found.pearson, found.spearman, found.within_step):
        assert estimate.low < estimate.value < estimate.high


def test_a_common_trend_is_not_a_correlation_inside_of_steps(samples):
    found = assess_rewards(
        samples(lambda noise, step, length: step + noise.normal(0, 0.1, len(step)), growth=3.0)
    ).length
    assert found.pearson.value > 0.9
    assert abs(found.within_step.value) < 0.15
    assert found.gain_at_equal_length.value == pytest.approx(found.gain.value, rel=0.1)
    assert not found.follows


def test_a_reward_for_length_is_found(samples):
    found = assess_rewards(samples(by_length)).length
    assert found.follows
    assert abs(found.gain_at_equal_length.value) < 0.1 * found.gain.value


def test_a_reward_for_brevity_is_found(samples):
    assert assess_rewards(samples(lambda n, s, x: -by_length(n, s, x), growth=-0.4)).length.follows


def test_a_reward_for_length_that_moved_no_length_is_not_a_failure(samples):
    found = assess_rewards(samples(by_length, growth=0.0)).length
    assert found.pearson.value > 0.9
    assert not found.follows


def test_the_cap_does_not_hide_a_reward_for_length(samples):
    data = samples(by_length, growth=1.0)
    cut = data.length >= 50
    capped = samples(by_length, growth=1.0, length=np.minimum(data.length, 50), truncated=cut.astype(float))
    assert assess_rewards(capped).length.within_step.value > 0.9


@pytest.mark.parametrize("value", [0.5, 0.0, -3.0, 1e6])
def test_a_constant_reward(samples, value):
    found = assess_rewards(samples(lambda n, s, x: value + 1e-8 * abs(value) * n.normal(0, 1, len(s))))
    assert found.constant == pytest.approx(value)
    assert found.saturated_throughout
    assert found.saturation.value == 1.0


def test_saturation_is_the_share_of_equal_groups(samples):
    def reward(noise, step, length):
        values = noise.normal(0, 1, len(step)).reshape(-1, 8)
        values[::4] = values[::4, :1] + 1e-9
        return values.reshape(-1)

    found = assess_rewards(samples(reward)).saturation
    assert found.value == 0.25
    assert found.low <= 0.25 <= found.high


def test_a_reward_of_the_prompt_alone_has_no_variance_inside_of_groups(samples):
    found = assess_rewards(samples(lambda noise, step, length: np.repeat(noise.normal(0, 1, len(step) // 8), 8)))
    assert found.within_group.value == pytest.approx(0.0, abs=1e-9)
    assert found.saturated_throughout


def test_jumps_of_the_level_lower_stability(samples):
    def jumping(noise, step, length):
        return noise.normal(0, 1, len(step)) + noise.normal(0, 2, step.max() + 1)[step]

    jumped = assess_rewards(samples(jumping)).stability
    calm = assess_rewards(samples(sound)).stability
    assert jumped.value == pytest.approx(1 / (1 + 4), abs=0.12)  # variance 1 of completions, 4 of the jumps
    assert jumped.high < calm.low


def test_a_slow_trend_leaves_stability_alone(samples):
    assert assess_rewards(samples(lambda n, s, x: n.normal(0.1 * s, 1.0))).stability.value > 0.9


def test_where_zero_lies_changes_nothing(samples):
    one, other = (assess_rewards(samples(lambda n, s, x, at=at: n.normal(at, 1, len(s)))) for at in (0.0, 100.0))
    assert other.stability.value == pytest.approx(one.stability.value, abs=1e-6)
    assert other.within_group.value == pytest.approx(one.within_group.value, abs=1e-6)


def repeats(samples, reward):
    """A few answers of few tokens come up again and again, each of the same length."""
    answer = np.tile(np.arange(16), 80)
    text = ("longer than all others", *(f"answer {i}" for i in answer[1:]))
    prompt = np.full(1280, "p")
    return assess_rewards(samples(reward(answer), text=text, prompt=prompt, length=10.0 + answer)).consistency


def test_a_consistent_reward(samples):
    found = repeats(samples, lambda answer: lambda n, s, x: answer.astype(float))
    assert found.agreement.value == pytest.approx(1.0)
    assert found.flips.value == 0.0
    assert found.repeated == 16


def test_a_random_reward_agrees_with_nothing(samples):
    found = repeats(samples, lambda answer: lambda n, s, x: n.normal(0, 1, len(s)))
    assert found.agreement.high < 0.2
    assert found.flips.value > 0.99


def test_a_noisy_judge_lies_between(samples):
    found = repeats(samples, lambda answer: lambda n, s, x: n.normal(0, 1, 16)[answer] + n.normal(0, 0.5, len(s)))
    assert 0.4 < found.agreement.value < 0.95


def test_a_level_that_shifts_at_equal_behaviour(samples):
    found = repeats(samples, lambda answer: lambda n, s, x: answer + 0.5 * s)
    assert found.level_shift.low > 0.5


def test_texts_that_may_be_cut_off_are_not_taken_for_equal(samples):
    found = assess_rewards(samples(sound, text=("x" * 80,) * 1280, length=np.full(1280, 30.0)))
    assert found.consistency.repeated == 0
    assert found.consistency.agreement.missing


@pytest.mark.parametrize(("sign", "value"), [(1.0, 1.0), (-1.0, -1.0)])
def test_the_sign_of_the_advantages(samples, sign, value):
    data = samples(sound)
    found = assess_rewards(samples(sound, advantage=sign * data.advantage)).advantage
    assert found.value == pytest.approx(value)


def test_advantages_scaled_by_group_still_agree(samples):
    data = samples(sound)
    scale = np.repeat(np.random.default_rng(1).uniform(0.1, 50, 160), 8)
    assert assess_rewards(samples(sound, advantage=scale * data.advantage)).advantage.value == pytest.approx(1.0)


def test_shuffled_advantages_agree_with_nothing(samples):
    shuffled = np.random.default_rng(1).permutation(samples(sound).advantage)
    assert abs(assess_rewards(samples(sound, advantage=shuffled)).advantage.value) < 0.15


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_bad_sample_is_found(samples, bad):
    values = samples(sound).reward.copy()
    values[700] = bad
    (found,) = assess_rewards(samples(sound, rewards={"score": values})).non_finite
    assert (found.function, found.count, found.step, found.example) == ("score", 1, 22, str(bad))


def test_a_function_without_an_opinion_is_no_fault(samples):
    """TRL: a function returns None for the prompts of another task."""
    values = samples(sound).reward
    task = np.repeat(np.arange(160) % 2 == 0, 8)
    rewards = {"maths": np.where(task, values, np.nan), "code": np.where(task, np.nan, values)}
    assert not assess_rewards(samples(sound, rewards=rewards)).non_finite
    rewards["maths"][0] = np.nan  # its group was scored otherwise
    assert assess_rewards(samples(sound, rewards=rewards)).non_finite[0].function == "maths"


def test_a_group_that_nobody_scored(samples):
    values = samples(sound).reward.copy()
    values[:8] = np.nan
    found = assess_rewards(samples(sound, rewards={"one": values, "two": values}, reward=np.nan_to_num(values)))
    assert sum(source.count for source in found.non_finite) == 8


def test_shares_of_the_variance(samples):
    data = samples(sound)
    part = np.random.default_rng(5).normal(0, 3.0, len(data))
    found = assess_rewards(samples(sound, reward=data.reward + part, rewards={"a": data.reward, "b": part}))
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert found.shares["b"] > 0.8


def test_drift_of_the_distribution(samples):
    still = assess_rewards(samples(lambda n, s, x: n.normal(0, 1, len(s)))).drift
    moved = assess_rewards(samples(lambda n, s, x: n.normal(0.1 * s, 1))).drift
    assert still.kolmogorov_smirnov.value < 0.15
    assert still.wasserstein.value < 0.2
    assert moved.kolmogorov_smirnov.low > 0.5
    assert moved.population_stability.low > still.population_stability.high
    assert moved.wasserstein.value > 1.0


def test_drift_is_that_of_scipy_on_discrete_rewards(samples):
    data = samples(lambda n, s, x: n.binomial(4, 0.3 + 0.01 * s) / 4)
    found = assess_rewards(data).drift
    steps = number_off(data.step)
    early, late = data.reward[steps < 40 / 3], data.reward[steps >= 80 / 3]
    assert found.kolmogorov_smirnov.value == pytest.approx(scipy.stats.ks_2samp(early, late).statistic)
    expected = scipy.stats.wasserstein_distance(early, late) / data.reward.std()
    assert found.wasserstein.value == pytest.approx(expected)


def test_too_few_are_not_judged(samples):
    assert "31 scored completions" in assess_rewards(samples(sound, steps=31, groups=1, size=1)).missing
    assert "in 3 steps" in assess_rewards(samples(sound, steps=3)).missing
    few = assess_rewards(samples(sound, steps=5))
    assert not few.missing
    assert not few.length.pearson.judged


def test_the_verdict_can_be_recomputed(samples):
    assert repr(assess_rewards(samples(sound))) == repr(assess_rewards(samples(sound)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrays.arrays(np.float64, 80, elements=st.floats(width=64)), st.integers(1, 8), st.booleans())
def test_any_rewards_are_assessed_without_an_exception(samples, values, size, recorded):
    steps = 80 // size
    columns = {} if recorded else {"length": np.full(steps * size, np.nan), "text": ("",) * (steps * size)}
    found = assess_rewards(samples(lambda n, s, x: values[: len(s)], steps=steps, groups=1, size=size, **columns))
    for estimate in (found.stability, found.within_group, found.saturation):
        assert math.isnan(estimate.value) or -1e-9 <= estimate.value <= 1 + 1e-9
    bad = (~np.isfinite(values[: steps * size])).sum()
    assert sum(source.count for source in found.non_finite) == bad or bad == steps * size or found.samples == 0
