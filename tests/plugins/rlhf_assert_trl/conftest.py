"""Real, tiny trainings for the tests of the TRL plugin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlhf_assert.recording.run import Run, read_run
from rlhf_assert_trl.backend import BACKEND
from rlhf_assert_trl.context import Context

WARNINGS = ("FutureWarning", "DeprecationWarning", "UserWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the frameworks warn: what they deprecate among themselves is not what these tests are about."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for warning in WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(f"ignore::{warning}"))


@pytest.fixture(scope="session")
def warm_backend() -> Any:
    """The TRL backend with everything imported."""
    BACKEND.warm_up()
    return BACKEND


@pytest.fixture
def context(warm_backend: Any, tmp_path: Path) -> Context:
    """The context of a short run."""
    return Context(seed=0, steps=6, output_dir=tmp_path / "checkpoints")


@pytest.fixture
def watch(context: Context, tmp_path: Path) -> Callable[..., Run]:
    """Train a trainer under a `HealthCallback` and return the recorded run."""
    import transformers

    from rlhf_assert_trl import HealthCallback

    transformers.set_seed(0)

    def train(trainer: Any, **options: Any) -> Run:
        trainer.add_callback(HealthCallback(tmp_path / "run", **options))
        trainer.train()
        return read_run(tmp_path / "run")

    return train


@pytest.fixture
def build(context: Context) -> Callable[..., Any]:
    """Return a trainer by its algorithm, on the task's own data unless told otherwise."""

    def trainer(algorithm: str, *, reward: Any = None, **arguments: Any) -> Any:
        return _BUILDERS[algorithm](context, reward or context.reward_function, arguments)

    return trainer


def _grpo(ctx: Context, reward: Any, arguments: dict[str, Any]) -> Any:
    from trl import GRPOConfig, GRPOTrainer

    return GRPOTrainer(
        model=ctx.tiny_model(),
        processing_class=ctx.tokenizer,
        reward_funcs=reward,
        train_dataset=ctx.prompts(32),
        args=GRPOConfig(**ctx.training_arguments(**{**_GROUP, "learning_rate": 1e-3, "beta": 0.04, **arguments})),
    )


def _rloo(ctx: Context, reward: Any, arguments: dict[str, Any]) -> Any:
    from trl import RLOOConfig, RLOOTrainer

    return RLOOTrainer(
        model=ctx.tiny_model(),
        processing_class=ctx.tokenizer,
        reward_funcs=reward,
        train_dataset=ctx.prompts(32),
        args=RLOOConfig(**ctx.training_arguments(**{**_GROUP, "learning_rate": 1e-3, "beta": 0.04, **arguments})),
    )


def _online_dpo(ctx: Context, reward: Any, arguments: dict[str, Any]) -> Any:
    from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

    defaults = {"per_device_train_batch_size": 8, "max_new_tokens": 24, "max_length": 64, "learning_rate": 1e-3}
    return OnlineDPOTrainer(
        model=ctx.tiny_model(),
        processing_class=ctx.tokenizer,
        reward_funcs=reward,
        train_dataset=ctx.prompts(32),
        args=OnlineDPOConfig(**ctx.training_arguments(**{**defaults, **arguments})),
    )


def _ppo(ctx: Context, reward: Any, arguments: dict[str, Any]) -> Any:
    ppo = pytest.importorskip("trl.experimental.ppo", reason="PPOTrainer needs trl<1.13")
    defaults = {
        "total_episodes": ctx.steps * 16,
        "per_device_train_batch_size": 16,
        "num_ppo_epochs": 1,
        "num_sample_generations": 0,
        "response_length": 24,
        "stop_token": "eos",
        "temperature": 1.0,
        "learning_rate": 1e-3,
    }
    return ppo.PPOTrainer(
        model=ctx.tiny_model(),
        ref_model=ctx.tiny_model(),
        value_model=ctx.tiny_value_model(),
        reward_model=ctx.reward_module(reward),
        processing_class=ctx.tokenizer,
        train_dataset=ctx.tokenized_prompts(32),
        args=ppo.PPOConfig(**ctx.training_arguments(**{**defaults, **arguments})),
    )


def _sft(ctx: Context, reward: Any, arguments: dict[str, Any]) -> Any:
    from trl import SFTConfig, SFTTrainer

    defaults = {"per_device_train_batch_size": 8, "learning_rate": 5e-4}
    return SFTTrainer(
        model=ctx.tiny_model(),
        processing_class=ctx.tokenizer,
        train_dataset=ctx.demonstrations(24),
        eval_dataset=ctx.demonstrations(8),
        args=SFTConfig(**ctx.training_arguments(**{**defaults, **arguments})),
    )


_GROUP = {"per_device_train_batch_size": 16, "num_generations": 4, "max_completion_length": 24}
_BUILDERS = {"grpo": _grpo, "rloo": _rloo, "online-dpo": _online_dpo, "ppo": _ppo, "sft": _sft}
