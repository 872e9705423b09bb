"""What a training of OpenRLHF can be set to: estimators that no packaged scenario has, and normalized rewards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlhf_assert import Run, judge, scenario
from rlhf_assert.check import Status
from rlhf_assert.runner import Runner
from rlhf_assert.scenarios import Scenario
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

        run = Runner(in_process=True).run(changed, tmp_path / f"run-{len(list(tmp_path.iterdir()))}", seed=0)
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


def test_normalized_rewards_are_recorded_beside_the_raw_ones(train: Callable[..., Run]) -> None:
    run = train(ppo, {"reward.normalize_enable": True})
    mean, std, raw = (
        run.original[f"reward/{name}"].values for name in ("normalization_mean", "normalization_std", "raw_mean")
    )
    assert run.config["reward_normalization"] is True
    assert len(raw) == STEPS
    assert len(set(mean)) == len(set(std)) == 1
    assert std[0] > 0.0
    assert std[0] != 1.0
    verdict = judge(run)
    assert verdict.status is Status.PASS, verdict.failures
    # Nothing has been trained at step 1: the same completions get the same rewards.
    assert raw[0] == pytest.approx(train(ppo, {})["reward"].values[0], abs=0.01)
