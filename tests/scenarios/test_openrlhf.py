"""OpenRLHF's packaged scenarios learn, and are judged healthy, on several seeds."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from rlhf_assert import Run, judge
from rlhf_assert.checked import Status
from rlhf_assert.checkpoints import inspect_checkpoint
from rlhf_assert.errors import MissingDependency
from rlhf_assert.training.local_runner import LocalRunner
from rlhf_assert.training.locator import scenarios_of
from rlhf_assert.training.request import Request
from rlhf_assert_openrlhf.environment import find_environment

pytestmark = [pytest.mark.training, pytest.mark.thorough]

GAIN = {
    "openrlhf_sft": 0.2,
    "openrlhf_rm": 0.5,
    "openrlhf_dpo": 0.3,
    "openrlhf_colocate": 0.1,
    "openrlhf_ppo": 0.3,
    "openrlhf_async": 0.1,
    "openrlhf_resume": 0.1,
}
"""By how much the last third's mean must beat the first third's, in the unit of the scenario's own learning signal."""


@pytest.fixture(scope="module")
def runner() -> LocalRunner:
    try:
        find_environment()
    except MissingDependency as error:
        pytest.skip(str(error))
    return LocalRunner(in_process=True)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("module", GAIN)
def test_a_healthy_scenario_learns_and_passes_every_check(
    runner: LocalRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, seed: int
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "users_own"))
    scenario = scenarios_of(importlib.import_module(f"rlhf_scenarios.{module}"))[0]
    run = runner.run(Request.of(scenario, seed=seed), tmp_path / "run")

    assert run.status == "completed", run.error
    assert scenario.learns is not None
    signal = run[scenario.learns].values
    assert len(signal) == scenario.steps
    third = len(signal) // 3
    gain = signal[-third:].mean() - signal[:third].mean()
    assert (-gain if scenario.learns == "loss" else gain) > GAIN[module]
    assert set(run.promised) <= set(run.series)
    checks = {check.name: check for check in judge(run).checks}
    assert not [check for check in checks.values() if check.status is Status.FAIL]
    assert checks["learning"].status is Status.PASS
    assert len(run.checkpoints) == 2
    assert checks["resume"].status is (Status.PASS if scenario.name == "openrlhf-resume" else Status.SKIPPED)
    assert not (tmp_path / "users_own").exists()
    if scenario.name == "openrlhf-ppo":
        check_the_critic(run)


def check_the_critic(run: Run) -> None:
    """It learns to tell returns, is recorded per sample, and is saved whenever the actor is."""
    explained = run["explained_variance"].values
    assert explained[-8:].mean() > explained[:8].mean() + 0.08
    assert np.isfinite(run.samples.value).all()
    assert run.samples.reward.std() > 0.1
    saved = run.path / "checkpoints"
    steps = [{path.name for path in (saved / model).glob("global_step*")} for model in ("_actor", "_critic")]
    assert steps[0] == steps[1] == {f"global_step{path.name.removeprefix('checkpoint-')}" for path in run.checkpoints}
    assert inspect_checkpoint(saved / "final_critic").score == 1.0
