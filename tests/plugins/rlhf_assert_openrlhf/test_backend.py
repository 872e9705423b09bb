"""OpenRLHF for real: Ray, DeepSpeed and vLLM, recorded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from rlhf_assert import Recorder, Run, Scenario, judge, read_run, scenario
from rlhf_assert.checked import Status
from rlhf_assert.errors import UsageError
from rlhf_assert.recording.events import Actors, RecordingFailed, WeightSyncCanary
from rlhf_assert.recording.live_recording import LiveRecording
from rlhf_assert_openrlhf.backend import BACKEND
from rlhf_assert_openrlhf.context import Context
from rlhf_assert_openrlhf.environment import Environment
from rlhf_assert_openrlhf.training import OpenRLHFTraining
from rlhf_scenarios.openrlhf_reinforce import reinforce

pytestmark = pytest.mark.training


def processes_of_a_training() -> list[psutil.Process]:
    """Return this process's descendants, and whatever of Ray's has lost its parent."""
    found = psutil.Process().children(recursive=True)
    for process in psutil.process_iter():
        try:
            if process.environ().get("RLHF_ASSERT_FEED"):
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def folders_of_trainings() -> set[Path]:
    return {
        folder
        for parent in {Path("/tmp"), Path(os.environ.get("TMPDIR", "/tmp"))}
        for folder in parent.glob("openrlhf-*")
    }


def train(found: Scenario, path: Path, steps: int, seed: int = 0) -> Run:
    live = LiveRecording(Recorder(path, scenario=found.name, backend="openrlhf", seed=seed, steps=steps))
    BACKEND.train(found, live, seed=seed, steps=steps)
    live.finish()
    return read_run(path)


@pytest.fixture(scope="module")
def run(installed: Environment, tmp_path_factory: pytest.TempPathFactory) -> Run:
    BACKEND.warm_up()
    before = folders_of_trainings()
    recorded = train(reinforce, tmp_path_factory.mktemp("openrlhf") / "run", reinforce.steps)
    assert not processes_of_a_training()
    assert folders_of_trainings() <= before
    return recorded


def test_every_step_is_recorded_under_canonical_names(run: Run) -> None:
    assert [row.step for row in run.rows] == list(range(1, reinforce.steps + 1))
    assert set(run.promised) <= set(run.series)
    assert {"kl_div", "entropy", "rollout_kl", "advantage", "grad_norm"} <= set(run.promised)
    assert {"actor_grad_norm", "vllm_kl", "timing/broadcast"} <= set(run.original)
    assert run.info["device"] == "cpu" or run.info["device"].startswith("cuda")
    assert run.config["algo.advantage.estimator"] == "reinforce_baseline"


def test_the_engines_are_recorded_and_follow_the_trainer(run: Run) -> None:
    assert {"vllm_latency", "vllm_throughput"} <= set(run.series)
    assert {"engine/time_to_first_token", "engine/kv_cache_usage", "engine/weight_sync_time"} <= set(run.original)
    tokens = run.original["engine/generated_tokens"].values
    assert tokens.tolist() == [run.samples.length[run.samples.step == row.step].sum() for row in run.rows]
    assert run.original["engine/unfinished"].values.max() == 0.0
    (canary,) = run.events_of(WeightSyncCanary)
    (engine,) = canary.engines or ()
    assert engine.moved > 0.1
    assert engine.off == 0.0
    assert not run.events_of(RecordingFailed)


def test_actors_batches_and_optimizers_are_recorded(run: Run) -> None:
    looks = run.events_of(Actors)
    classes = {actor.class_name for actor in looks[-1].actors if actor.state == "ALIVE"}
    assert {"PolicyModelActor", "ReferenceModelActor", "RolloutRayActor"} <= classes
    assert all(actor.restarts == 0 for look in looks for actor in look.actors)
    assert any(node.memory for look in looks for node in look.nodes)
    savings = run.original["packing/savings"].values
    assert ((savings > 0.0) & (savings < 1.0)).all()  # completions of several lengths, padded to the longest
    # The advantage is the reward less its group's mean, but for the KL penalty.
    assert run.original["advantage_reward_correlation"].values.min() > 0.5
    assert set(run.original["optimizer/policy/overflow"].values) == {0.0}
    assert run.config["zero_stage"] == 2


def test_samples_agree_with_the_metrics_of_their_step(run: Run) -> None:
    samples = run.samples
    assert len(samples) == 64 * reinforce.steps
    for step in (1, reinforce.steps):
        own = samples.step == step
        assert samples.reward[own].mean() == pytest.approx(
            run.original["rollout/reward_mean"].values[step - 1], abs=1e-5
        )
        assert samples.length[own].mean() == pytest.approx(run["response_length"].values[step - 1], abs=0.01)
        assert len(set(samples.prompt[own])) == 8
    assert np.isfinite(samples.advantage).all()
    # The advantage of a sample is its reward less its group's mean, but for the KL penalty: they rise together.
    assert np.corrcoef(samples.advantage, samples.reward)[0, 1] > 0.7


def test_it_learns_and_the_engine_follows_the_trainer(run: Run) -> None:
    reward = run["reward"].values
    third = len(reward) // 3
    assert reward[-third:].mean() - reward[:third].mean() > 0.05
    assert abs(run["rollout_kl"].values).max() < 0.05


def test_it_is_judged_healthy(run: Run) -> None:
    checks = judge(run).checks
    assert not [check for check in checks if check.status is Status.FAIL]
    assert {"completion", "kl", "learning", "checkpoints", "engine"} <= {
        check.name for check in checks if check.status is Status.PASS
    }


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (lambda ctx: None, "returned NoneType: return an OpenRLHFTraining"),
        (lambda ctx: OpenRLHFTraining(resume_after=2), "resume_after=2, but of 2 steps a later one must be left"),
        (lambda ctx: OpenRLHFTraining(flags={"actor.adam.lrr": 1}), r"no flag actor.adam.lrr \(did you mean"),
    ],
)
def test_what_cannot_be_launched_is_refused_before(
    installed: Environment, tmp_path: Path, returned: Any, said: str
) -> None:
    @scenario(name="wrong", backend="openrlhf")
    def wrong(ctx: Context) -> Any:
        return returned(ctx)

    with pytest.raises(UsageError, match=said):
        train(wrong, tmp_path / "run", 2)
    assert not (tmp_path / "run" / "output.log").exists()
