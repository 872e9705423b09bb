"""Trainings of users' own files, in pytest sessions of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

USERS_FILE = """
import pytest
from rlhf_assert import scenario


def grpo(ctx, reward, **changes):
    from trl import GRPOConfig, GRPOTrainer

    arguments = {"learning_rate": 1e-3, "beta": 0.04, "num_generations": 8, "per_device_train_batch_size": 32,
                 "max_completion_length": 16, **changes}
    return GRPOTrainer(model=ctx.tiny_model(), reward_funcs=reward, train_dataset=ctx.prompts(64),
                       processing_class=ctx.tokenizer, args=GRPOConfig(**ctx.training_arguments(), **arguments))


def vowels(completions, **_):
    return [sum(letter in "aeiou" for letter in text) / max(len(text), 1) for text in completions]


def half(completions, **_):
    return [0.5] * len(completions)


@scenario
def sound(ctx):
    return grpo(ctx, vowels)


@scenario
def constant(ctx):
    return grpo(ctx, half)


@scenario
def too_fast(ctx):
    return grpo(ctx, vowels, learning_rate=1.0)


@pytest.mark.rlhf_scenario(sound)
def test_sound(assert_run_healthy):
    assert_run_healthy()


@pytest.mark.rlhf_scenario(constant)
def test_constant(assert_rewards_reliable):
    assert_rewards_reliable()


@pytest.mark.rlhf_scenario(too_fast)
def test_too_fast(assert_kl_anomaly_free):
    assert_kl_anomaly_free()
"""


@pytest.fixture(autouse=True)
def _without_openrlhf(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is selected must not depend on what else the developer has installed."""
    monkeypatch.delenv("RLHF_OPENRLHF_PYTHON", raising=False)


@pytest.fixture
def users_file(pytester: pytest.Pytester) -> Path:
    """A test file as a user writes it: a sound reward, a constant one, and a learning rate of 1.0."""
    return pytester.makepyfile(test_mine=USERS_FILE)
