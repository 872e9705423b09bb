from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlhf_assert import Recorder, read_run, scenario
from rlhf_assert.errors import TrainingStopped, UsageError
from rlhf_assert.recording.live_recording import LiveRecording
from rlhf_assert.training.backend import Backend
from rlhf_assert_trl import backend as module
from rlhf_assert_trl.backend import BACKEND
from rlhf_assert_trl.context import Context


def test_it_is_a_backend() -> None:
    backend: Backend = BACKEND
    assert backend.name == "trl"
    assert backend.missing() is None
    assert {"trl", "torch", "transformers", "numpy"} <= set(backend.versions())


def test_a_missing_package_names_the_command_that_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NEEDED", ("trl", "no-such-package"))
    assert BACKEND.missing() == "no-such-package not installed: pip install 'rlhf-assert[trl]'"


@pytest.mark.training
@pytest.mark.parametrize(
    ("returned", "shown"), [(None, "returned None"), (dict, "returned the class dict"), ("GRPO", "returned str")]
)
def test_what_is_no_trainer_is_refused(warm_backend: Any, tmp_path: Path, returned: Any, shown: str) -> None:
    @scenario(name="wrong")
    def wrong(ctx: Context) -> Any:
        return returned

    with pytest.raises(UsageError, match=f"wrong: its function {shown}: return a TRL trainer") as caught:
        BACKEND.train(wrong, LiveRecording(Recorder(tmp_path / "run")), seed=0, steps=2)
    assert "\n" not in str(caught.value)


@pytest.mark.training
def test_a_scenario_is_described_and_trained(warm_backend: Any, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    @scenario(learns="loss", promises=("explained_variance", "loss"))
    def described(ctx: Context) -> Any:
        return _sft(ctx)

    live = LiveRecording(Recorder(tmp_path / "run", scenario="described", seed=3))
    BACKEND.train(described, live, seed=3, steps=4)
    live.finish()
    run = read_run(tmp_path / "run")

    assert run.steps == 4
    assert run.info["algorithm"] == "sft"
    assert run.info["learns"] == "loss"
    assert run.config["seed"] == 3
    assert run.config["learning_rate"] == 5e-4
    assert run.promised == ("loss", "grad_norm", "learning_rate", "entropy", "explained_variance")
    assert [path.name for path in run.checkpoints] == ["checkpoint-2", "checkpoint-4"]
    initial = load_file(run.path / run.info["initial_weights"] / "model.safetensors")
    last = load_file(run.checkpoints[-1] / "model.safetensors")
    assert initial.keys() == last.keys()
    assert any((initial[name] != last[name]).any() for name in initial)


@pytest.mark.training
def test_a_raising_scenario_leaves_what_was_recorded(warm_backend: Any, tmp_path: Path) -> None:
    def failing(completions: list[str], trainer_state: Any, **_: Any) -> list[float]:
        if trainer_state.global_step == 2:
            raise RuntimeError("no reward today")
        return [float(len(text)) for text in completions]

    @scenario
    def raising(ctx: Context) -> Any:
        from trl import GRPOConfig, GRPOTrainer

        return GRPOTrainer(
            model=ctx.tiny_model(),
            reward_funcs=failing,
            train_dataset=ctx.prompts(16),
            args=GRPOConfig(**ctx.training_arguments(max_completion_length=16)),
        )

    with pytest.raises(RuntimeError, match="no reward today"):
        BACKEND.train(raising, LiveRecording(Recorder(tmp_path / "run")), seed=0, steps=4)
    run = read_run(tmp_path / "run")
    assert [row.step for row in run.rows] == [1, 2]
    assert len(run.samples) == 16


@pytest.mark.training
@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_a_callback_that_stops_is_a_stopped_training(
    warm_backend: Any, tmp_path: Path, build: Callable[..., Any], algorithm: str
) -> None:
    from rlhf_assert.detect import Anomaly, Severity
    from rlhf_assert_trl import HealthCallback

    class AtTwo:
        name = "at-two"

        def update(self, step: int, metrics: Any) -> list[Anomaly]:
            found = Anomaly(kind="at-two", metric="loss", severity=Severity.critical, onset=2, summary="enough")
            return [found] if step == 2 else []

    @scenario
    def stopping(ctx: Context) -> Any:
        trainer = build(algorithm)
        trainer.add_callback(HealthCallback(tmp_path / "own", stop_on="critical", detectors=[AtTwo()]))
        return trainer

    with pytest.raises(TrainingStopped, match="loss: enough"):
        BACKEND.train(stopping, LiveRecording(Recorder(tmp_path / "run")), seed=0, steps=6)
    assert read_run(tmp_path / "run").steps == 2


def _sft(ctx: Context) -> Any:
    from trl import SFTConfig, SFTTrainer

    return SFTTrainer(
        model=ctx.tiny_model(),
        processing_class=ctx.tokenizer,
        train_dataset=ctx.demonstrations(32),
        args=SFTConfig(**ctx.training_arguments(), per_device_train_batch_size=8, learning_rate=5e-4),
    )
