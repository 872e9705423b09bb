"""Rewards that break: their sign, scale or spread, and advantages that are not theirs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rlhf_assert.recording.run import read_samples
from rlhf_assert.rewards.breaks import find_advantage_break, find_reward_break

STEPS, SIZE = 20, 16


@pytest.fixture
def samples(tmp_path):
    """Return a function that makes the samples of rewards, shape (steps, completions)."""
    import orjson

    def make(rewards, advantages=None):
        file = tmp_path / "samples.jsonl"
        with file.open("wb") as stream:
            for step, row in enumerate(rewards, start=1):
                for index, reward in enumerate(row):
                    record = {"step": step, "prompt": f"p{index // 8}", "reward": float(reward)}
                    if advantages is not None:
                        record["advantage"] = float(advantages[step - 1][index])
                    stream.write(orjson.dumps(record) + b"\n")
        return read_samples(file)

    return make


def learning(seed=0, steps=STEPS):
    """Rewards in 0 to 1 whose mean rises, a fifth of them 0."""
    noise = np.random.default_rng(seed)
    rewards = np.clip(noise.normal(np.linspace(0.3, 0.7, steps)[:, None], 0.2, (steps, SIZE)), 0.05, 1.0)
    return np.where(noise.uniform(size=rewards.shape) < 0.2, 0.0, rewards)


@pytest.mark.parametrize(("factor", "kind"), [(-1.0, "range"), (100.0, "range"), (1e-3, "range")])
def test_a_sign_or_a_scale_that_changes(samples, factor, kind):
    rewards = learning()
    rewards[9:] *= factor
    rewards += 0.0  # no negative zeros
    found = find_reward_break(samples(rewards))
    assert (found.kind, found.step) == (kind, 10)


@pytest.mark.parametrize("step", [4, 5, 10])
def test_a_reward_that_becomes_one_value(samples, step):
    rewards = learning()
    rewards[step - 1 :] = 0.5
    found = find_reward_break(samples(rewards))
    assert (found.kind, found.step) == ("constant", step)


@pytest.mark.parametrize("seed", range(50))
def test_learning_breaks_nothing(samples, seed):
    assert find_reward_break(samples(learning(seed))) is None


def sparse():
    rewards = np.zeros((STEPS, SIZE))
    rewards[10:, ::2] = 1.0
    return rewards


def solved():
    rewards = learning()
    rewards[12:] = 1.0
    return rewards


def one_step():
    rewards = learning()
    rewards[9] *= 100.0
    return rewards


def steep():
    """A score that grows by a tenth of its range each step."""
    noise = np.random.default_rng(0)
    return np.arange(STEPS)[:, None] + noise.normal(0.0, 10.0, (STEPS, SIZE))


@pytest.mark.parametrize("rewards", [sparse(), solved(), one_step(), steep(), np.full((STEPS, SIZE), 0.5)])
def test_what_is_no_break(samples, rewards):
    assert find_reward_break(samples(rewards)) is None


def test_advantages_that_are_not_of_their_rewards(samples):
    rewards = learning()
    lead = rewards - rewards.reshape(STEPS, 2, 8).mean(2).repeat(8, 1)
    sound = samples(rewards, lead)
    assert find_advantage_break(sound, sound.reward, 0.5, grouped=True) is None
    negated = samples(rewards, np.where(np.arange(STEPS)[:, None] >= 9, -lead, lead))
    assert find_advantage_break(negated, negated.reward, 0.5, grouped=True) == (10, pytest.approx(-1.0))
    one = samples(rewards, np.where(np.arange(STEPS)[:, None] == 9, -lead, lead))
    assert find_advantage_break(one, one.reward, 0.5, grouped=True) is None


def test_advantages_of_a_critic_are_compared_within_a_step(samples):
    gains = learning() - 4.0
    gains[:, ::2] *= 0.3  # one completion of each prompt: no group varies
    lead = 2.0 * gains - 1.0
    for advantages, expected in ((lead, None), (-lead, (1, pytest.approx(-1.0)))):
        found = samples(gains, advantages)
        alone = replace(found, prompt=np.arange(len(found)).astype(str))
        assert find_advantage_break(alone, alone.reward, 0.5, grouped=False) == expected
