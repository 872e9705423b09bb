"""What a training of OpenRLHF can be set to: estimators that no packaged scenario has, and normalized rewards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlhf_assert import Run, judge, scenario
from rlhf_assert.checked import Status
from rlhf_assert.recording.events import RewardNormalization
from rlhf_assert.training.local_runner import LocalRunner
from rlhf_assert.training.request import Request
from rlhf_assert.training.scenario import Scenario
from rlhf_assert_openrlhf.environment import Environment
from rlhf_scenarios.openrlhf_ppo import ppo
from rlhf_scenarios.openrlhf_reinforce import reinforce

pytestmark = [pytest.mark.training, pytest.mark.thorough]

STEPS = 10


@pytest.fixture
def train(installed: Environment, tmp_path: Path) -> Callable[..., Run]:
    """Return a function that trains a scenario with some flags set."""

    def trained(known: Scenario, flags: dict[str, Any]) -> Run:
        @scenario(name=known.name, backend="openrlhf", steps=STEPS)
        def changed(ctx: Any) -> Any:
            training = known(ctx)
            return replace(training, flags={**training.flags, **flags})

        run = LocalRunner(in_process=True).run(
            Request.of(changed, seed=0), tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        )
        assert run.status == "completed", run.error
        return run

    return trained


@pytest.mark.parametrize("estimator", ["reinforce", "dr_grpo", "flash_reinforce"])
def test_an_estimator_is_recorded_and_judged(train: Callable[..., Run], estimator: str) -> None:
    run = train(reinforce, {"algo.advantage.estimator": estimator})
    assert run.info["algorithm"] == estimator
    assert set(run.promised) <= set(run.series)
    verdict = judge(run)
    assert verdict.status is Status.PASS, verdict.failures
    assert "rewards" in {check.name for check in verdict.checks if check.status is Status.PASS}
    assert np.isfinite(run.original["advantage_reward_correlation"].values).all()


def test_normalized_rewards_are_recorded_and_judged(train: Callable[..., Run]) -> None:
    """OpenRLHF 0.11.2 keeps mean and deviation in buffers that transformers 5 does not restore when it loads them."""
    run = train(ppo, {"reward.normalize_enable": True})
    mean, std, raw = (
        run.original[f"reward/{name}"].values for name in ("normalization_mean", "normalization_std", "raw_mean")
    )
    assert run.config["reward_normalization"] is True
    assert len(raw) == STEPS
    assert len(set(mean)) == len(set(std)) == 1
    (told,) = run.events_of(RewardNormalization)
    assert (told.mean, told.std) == (mean[0], std[0])
    assert 0.5 < told.saved_std < 10.0
    sound = abs(std[0] - told.saved_std) < 0.02
    (check,) = [check for check in judge(run).checks if check.name == "rewards"]
    assert check.status is (Status.PASS if sound else Status.FAIL)
    if not sound:
        assert str(check.cause).startswith("the reward model normalizes by mean")
