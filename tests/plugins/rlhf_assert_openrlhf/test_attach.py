"""A training that the user launches is recorded, and is otherwise as it was: output, exit status, signals, its life."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from rlhf_assert import Recorder, read_run
from rlhf_assert.recording.events import WeightSyncCanary
from rlhf_assert.recording.live_recording import LiveRecording
from rlhf_assert_openrlhf.attach import cpu_variables, recording_variables
from rlhf_assert_openrlhf.backend import BACKEND, command, private_folder, tiny_model
from rlhf_assert_openrlhf.context import Context
from rlhf_assert_openrlhf.environment import Environment
from rlhf_assert_openrlhf.feed import Feed
from rlhf_assert_openrlhf.inside import recording
from rlhf_assert_openrlhf.inside.command import flat, tell_command, tell_error
from rlhf_assert_openrlhf.inside.ray_jobs import extend
from rlhf_assert_openrlhf.training import materialise
from rlhf_scenarios.openrlhf_reinforce import reinforce

# What the hooks in OpenRLHF's processes do, by the same module, found through the same variables.
TELL = """
import os, signal, sys, time
from rlhf_assert_openrlhf.inside.recording import tell
for step in (1, 2, 3):
    tell("metrics", step=step, metrics={"reward": 0.1 * step, "policy_loss": 0.2, "kl": 0.01})
print("told", flush=True)
"""
REWARD = """
import torch

def reward_func(queries, prompts, labels):
    rewards = torch.tensor([len(set(query[len(prompt):].split())) / 10 for query, prompt in zip(queries, prompts)])
    return {"rewards": rewards, "scores": rewards, "extra_logs": {}}
"""


def words(run: Path, *command: str, options: tuple[str, ...] = ()) -> list[str]:
    return [sys.executable, "-m", "rlhf_assert_openrlhf.attach", str(run), *options, "--", *command]


def attach(run: Path, *command: str, options: tuple[str, ...] = (), **variables: str) -> Any:
    given = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **variables}
    return subprocess.run(words(run, *command, options=options), env=given, capture_output=True, text=True, check=False)


@pytest.fixture
def launch(tmp_path: Path) -> Callable[[str], subprocess.Popen[str]]:
    """Start `attach` on Python code, and return when it has told its first steps."""

    def start(code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            words(tmp_path / "run", sys.executable, "-c", TELL + code), stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "told\n"
        return process

    return start


@pytest.mark.parametrize(
    ("code", "status", "ended"),
    [
        ("", 0, "completed"),
        ("sys.exit(7)", 7, "crashed"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 128 + signal.SIGKILL, "crashed"),
    ],
)
def test_a_command_keeps_its_output_and_exit_status(tmp_path: Path, code: str, status: int, ended: str) -> None:
    done = attach(tmp_path / "run", sys.executable, "-c", TELL + code)
    assert (done.returncode, done.stdout) == (status, "told\n")
    run = read_run(tmp_path / "run")
    assert (run.status, [row.step for row in run.rows]) == (ended, [1, 2, 3])
    assert run["kl_div"].last == 0.01
    assert bool(run.error) == bool(status)
    assert {path.name for path in run.path.iterdir()} >= {"run.json", "metrics.jsonl", "checkpoints"}
    assert not (run.path / "hook").exists()
    assert not (run.path / "feed.jsonl").exists()


def test_a_signal_reaches_the_command(tmp_path: Path, launch: Callable[[str], subprocess.Popen[str]]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        process = launch(
            f"signal.signal({int(number)}, lambda *_: sys.exit(3))\nprint('up', flush=True)\ntime.sleep(99)"
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)
        assert process.wait() == 3
        process.stdout.close()
        (tmp_path / "run").rename(tmp_path / f"run-{number}")


def test_a_killed_recorder_leaves_a_readable_run_and_a_training_that_goes_on(
    tmp_path: Path, launch: Callable[[str], subprocess.Popen[str]]
) -> None:
    process = launch("time.sleep(99)")
    (training,) = psutil.Process(process.pid).children()
    while len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines() if _told(tmp_path) else []) < 3:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    try:
        assert training.is_running()
        run = read_run(tmp_path / "run")
        assert run.status == "crashed"
        assert len(run.rows) == 3
    finally:
        training.kill()


def _told(folder: Path) -> bool:
    return (folder / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["run"], 2, "no command: end with --"),
        (["run", "--gpu", "--", "true"], 2, "unrecognized arguments: --gpu"),
        (["run", "--", "no-such-program"], 127, "no-such-program: cannot be run: No such file"),
        (["run", "--", "true"], 0, "no step was told: does the command train with openrlhf.cli"),
    ],
)
def test_what_cannot_be_recorded_is_said(tmp_path: Path, arguments: list[str], status: int, said: str) -> None:
    module = [sys.executable, "-m", "rlhf_assert_openrlhf.attach"]
    done = subprocess.run([*module, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_directory_is_not_written_twice(tmp_path: Path) -> None:
    assert attach(tmp_path / "run", "true").returncode == 0
    again = attach(tmp_path / "run", "touch", str(tmp_path / "launched"))
    assert again.returncode == 2
    assert "holds a run already" in again.stderr
    assert not (tmp_path / "launched").exists()


def test_the_hook_is_complete_and_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder alone is what another node sees; a `sitecustomize` that the user has runs all the same."""
    (tmp_path / "users").mkdir()
    (tmp_path / "users" / "sitecustomize.py").write_text("print('mine')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "users"))
    (tmp_path / "run").mkdir()
    given = recording_variables(tmp_path / "run")
    code = "import sys, rlhf_assert_openrlhf as ours; print(ours.__file__); print('numpy' in sys.modules)"
    environment = {**os.environ, **given}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["mine", str(tmp_path / "run/hook/rlhf_assert_openrlhf/__init__.py"), "False"]
    assert not done.stderr


def test_workers_of_a_running_cluster_get_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/run/hook")
    monkeypatch.setenv("RLHF_ASSERT_FEED", "/run/feed.jsonl")
    monkeypatch.delenv("RLHF_ASSERT_CPU", raising=False)
    found = extend({"working_dir": "/here", "env_vars": {"NCCL_DEBUG": "WARN"}})
    assert found["working_dir"] == "/here"
    assert found["env_vars"]["NCCL_DEBUG"] == "WARN"
    assert found["env_vars"]["RLHF_ASSERT_FEED"] == "/run/feed.jsonl"
    assert found["env_vars"]["PYTHONPATH"] == "/run/hook:${PYTHONPATH}"
    assert "RLHF_ASSERT_CPU" not in found["env_vars"]
    assert extend({"env_vars": {"PYTHONPATH": "/mine"}})["env_vars"]["PYTHONPATH"] == "/run/hook:/mine"
    assert extend(None)["env_vars"]["PYTHONPATH"] == "/run/hook:${PYTHONPATH}"


def test_a_command_tells_its_settings_without_secrets_and_the_error_that_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RLHF_ASSERT_FEED", str(tmp_path / "feed.jsonl"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    space = SimpleNamespace
    settings = space(
        train=space(seed=7),
        actor=space(model_name_or_path="model", adam=space(lr=1e-3)),
        algo=space(advantage=space(estimator="group_norm"), kl=space(init_coef=0.02)),
        reward=space(remote_url="rewards/mine.py"),
        ckpt=space(path="saved"),
        logger=space(wandb=space(key="s3cret")),
    )
    tell_command("train_ppo_ray", flat(settings))
    tell_error(ValueError("the engine is gone"))
    live = LiveRecording(Recorder(tmp_path / "run", seed=None))
    feed = Feed(tmp_path / "feed.jsonl", live)
    feed.take()
    live.finish("crashed", feed.error)

    run = read_run(tmp_path / "run")
    assert run.info["algorithm"] == "grpo"
    assert (run.config["learning_rate"], run.config["beta"], run.config["train.seed"]) == (1e-3, 0.02, 7)
    assert run.config["reward_functions"] == ["mine"]
    assert run.info["initial_weights"] == str(tmp_path / "model")
    assert "kl_div" in run.promised
    assert run.info["versions"]["python"]
    assert run.info["seed"] is None, "what the recorder knows stays"
    assert feed.saves == tmp_path / "saved"
    assert run.error == {**run.error, "type": "ValueError", "message": "the engine is gone"}
    assert "s3cret" not in (tmp_path / "run" / "run.json").read_text()


def test_the_time_of_hooks_is_told_with_the_next_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLHF_ASSERT_FEED", str(tmp_path / "feed.jsonl"))
    ticks = iter(range(100))
    monkeypatch.setattr(recording.time, "perf_counter", lambda: float(next(ticks)))
    monkeypatch.setattr(recording, "_spent", 0.0)
    recording.guarded(lambda: None)
    recording.guarded(recording.guarded, lambda: None)  # the inner one is within the outer
    recording.tell("metrics", step=1, metrics={})
    recording.tell("metrics", step=2, metrics={})
    lines = [json.loads(line) for line in (tmp_path / "feed.jsonl").read_text().splitlines()]
    assert [line["seconds"] for line in lines] == [3.0, 0.0]


def test_the_interpreter_of_the_command_is_that_of_openrlhf(
    installed: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RLHF_OPENRLHF_PYTHON", raising=False)
    monkeypatch.chdir(tmp_path)
    given = cpu_variables([str(installed.python), "-m", "openrlhf.cli.train_sft"])
    assert given["TORCH_EXTENSIONS_DIR"] == str(installed.prefix / "torch_extensions")
    assert given["PATH"].startswith(str(installed.python.parent))


@pytest.mark.training
@pytest.mark.thorough
def test_a_users_own_training_is_recorded_and_judged(installed: Environment, tmp_path: Path) -> None:
    BACKEND.warm_up()
    reward = tmp_path / "my_reward.py"
    reward.write_text(REWARD)
    (tmp_path / "data").mkdir()
    context = Context(
        seed=3, steps=6, output_dir=tmp_path / "saved", tiny_model=tiny_model(installed), on_cpu=installed.on_cpu
    )
    training = replace(reinforce(context), reward=reward)
    launched, _ = command(installed, training, materialise(training, tmp_path / "data"))
    cpu = ("--cpu",) if installed.on_cpu else ()
    with private_folder() as folder:
        done = attach(tmp_path / "run", *launched, options=cpu, RAY_TMPDIR=str(folder), TMPDIR=str(folder))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Global step 6" in done.stdout

    run = read_run(tmp_path / "run")
    assert [row.step for row in run.rows] == list(range(1, 7))
    assert set(run.promised) <= set(run.series)
    assert run.info["algorithm"] == "reinforce_baseline"
    assert run.config["actor.adam.lr"] == 1e-3
    assert run.config["reward_functions"] == ["my_reward"]
    assert run.config["logger.tensorboard_dir"] is None
    assert run.info["versions"]["openrlhf"] == installed.versions["openrlhf"]
    assert len(run.samples) == 64 * 6
    assert [path.name for path in run.checkpoints] == ["checkpoint-3", "checkpoint-6"]
    assert run.info["hook_seconds"] > 0.0
    assert run.resources
    assert not run.events_of(WeightSyncCanary)

    judged = subprocess.run(
        [sys.executable, "-m", "rlhf_assert.cli", "check", str(run.path), "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    (entry,) = json.loads(judged.stdout)["runs"]
    assert (entry["steps"], entry["error"]) == (6, None)
    assert not [finding for finding in entry["findings"] if finding["severity"] == "critical"]
    assert judged.returncode == 0
