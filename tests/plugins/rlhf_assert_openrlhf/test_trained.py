"""A model that one scenario trains and another takes is trained once, and again where anything about it changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlhf_assert import Scenario, scenario
from rlhf_assert.errors import RlhfAssertError
from rlhf_assert_openrlhf import trained as module
from rlhf_assert_openrlhf.environment import Environment
from rlhf_assert_openrlhf.training import OpenRLHFTraining
from rlhf_scenarios.openrlhf_rm import reward_model


@pytest.fixture(autouse=True)
def cache(installed: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def changed(**fields: Any) -> Scenario:
    """Return the packaged scenario of a reward model, with other fields in its training."""

    @scenario(name=reward_model.name, backend="openrlhf", steps=reward_model.steps)
    def other(ctx: Any) -> Any:
        return replace(reward_model(ctx), **fields)

    return other


def test_it_is_found_by_what_it_trains_on(cache: Path) -> None:
    key = module._key(reward_model)
    assert module._key(changed()) == key
    assert module._key(changed(flags={"adam.lr": 1.0})) != key
    assert module._key(changed(data=())) != key
    assert module._key(replace(reward_model, steps=5)) != key


def test_one_that_is_there_is_not_trained_again(cache: Path) -> None:
    kept = cache / f"{reward_model.name}-{module._key(reward_model)}"
    kept.mkdir(parents=True)
    assert module.trained(reward_model) == kept / "checkpoints" / "final"
    assert list(cache.iterdir()) == [kept]


def test_a_training_that_cannot_be_is_named_and_leaves_nothing(cache: Path) -> None:
    wrong = changed(flags={"adam.lrr": 1.0})
    with pytest.raises(RlhfAssertError, match=r"^openrlhf-rm, whose model this .*: openrlhf has no flag adam\.lrr"):
        module.trained(wrong)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


@pytest.mark.training
@pytest.mark.thorough
def test_it_is_trained_by_openrlhf_and_judged(cache: Path) -> None:
    """Without a learning rate it does not learn, so its model is refused."""

    @scenario(name="hopeless", backend="openrlhf", steps=reward_model.steps, learns="reward_margin")
    def hopeless(ctx: Any) -> Any:
        made: OpenRLHFTraining = reward_model(ctx)
        return replace(made, flags={**made.flags, "adam.lr": 0.0})

    with pytest.raises(RlhfAssertError, match="hopeless, whose model this scenario takes, failed its own checks: "):
        module.trained(hopeless)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]
