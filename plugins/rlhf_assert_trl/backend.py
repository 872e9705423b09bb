"""The backend `trl`: trains scenarios whose function returns a TRL trainer."""

from __future__ import annotations

import gc
import importlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, ClassVar

from rlhf_assert.errors import TrainingStopped, UsageError
from rlhf_assert.training.fault_kinds import FAULTS
from rlhf_assert_trl.describe import describe, name_of, policy_of

if TYPE_CHECKING:
    from rlhf_assert.recording.live_recording import LiveRecording
    from rlhf_assert.training.faults import Fault
    from rlhf_assert.training.scenario import Scenario

PACKAGES = ("trl", "torch", "transformers", "accelerate", "datasets", "tokenizers", "numpy")
NEEDED = ("trl", "torch", "transformers", "accelerate", "datasets")
TRAINERS = ("GRPO", "RLOO", "DPO", "KTO", "Reward", "SFT")
EXPERIMENTAL = {"trl.experimental.online_dpo": "OnlineDPO", "trl.experimental.ppo": "PPO"}
INITIAL_WEIGHTS_LIMIT = 1 << 30
"""Bytes of a model above which its step-0 weights are not saved: drift is then measured from the first checkpoint."""


class TRLBackend:
    """Trains with TRL in this process; see `rlhf_assert.training.backend.Backend`."""

    name = "trl"
    faults = frozenset(FAULTS) - {"critic_learning_rate_spike", "engine_killed", "actor_killed"}
    needs: ClassVar[Mapping[str, float]] = {"CPU": 1.0}
    """What a training takes of a cluster's node."""

    def missing(self) -> str | None:
        """Return which needed package is not installed, with the command that mends it, or None."""
        absent = [package for package in NEEDED if _version(package) is None]
        return f"{', '.join(absent)} not installed: pip install 'rlhf-assert[trl]'" if absent else None

    def versions(self) -> Mapping[str, str]:
        """Return the versions of what decides a training's numbers."""
        return {package: found for package in PACKAGES if (found := _version(package)) is not None}

    def warm_up(self) -> None:
        """Import TRL and its trainers, warm-start the tiny model, and set torch to one thread (tiny models gain)."""
        import torch
        import transformers
        import trl

        torch.set_num_threads(1)
        transformers.utils.logging.disable_progress_bar()
        for algorithm in TRAINERS:
            for suffix in ("Config", "Trainer"):
                getattr(trl, algorithm + suffix)  # trl loads its classes when they are first asked for
        for module in EXPERIMENTAL:
            try:
                importlib.import_module(module)
            except ImportError:  # gone from this TRL: the scenario's `requires` says so
                continue
        from rlhf_assert_tiny import tiny
        from rlhf_assert_trl import callback, faults, reward_module

        del callback, faults, reward_module
        tiny.warm_start()

    def train(
        self, scenario: Scenario, recording: LiveRecording, *, seed: int, steps: int, fault: Fault | None = None
    ) -> None:
        """Build the scenario's trainer and train it; see `rlhf_assert.training.backend.Backend.train`.

        Raises:
            UsageError: the scenario's function returned no trainer, or the fault does not apply to it.
            TrainingStopped: the monitor stopped the training.
        """
        import torch
        import transformers

        from rlhf_assert_trl.callback import HealthCallback
        from rlhf_assert_trl.context import Context
        from rlhf_assert_trl.faults import injected
        from rlhf_assert_trl.rescoring import RewardMemory

        torch.set_num_threads(1)
        transformers.set_seed(seed)
        folder = (recording.path / "checkpoints").resolve()
        trainer = scenario(Context(seed=seed, steps=steps, output_dir=folder))
        check_trainer(trainer, scenario)
        described = describe(trainer)
        described["promised"] = list(dict.fromkeys([*described["promised"], *scenario.promises]))
        initial_weights = save_initial_weights(trainer, recording)
        recording.describe(**described, learns=scenario.learns, initial_weights=initial_weights)
        callback = HealthCallback(recording)
        with injected(trainer, fault, seed=seed):
            trainer.add_callback(callback)
            rewards = RewardMemory(trainer)
            try:
                with frozen_garbage():
                    trainer.train()
                rewards.rescore(recording)
            finally:
                rewards.close()
                callback.close()
        for held in trainer.callback_handler.callbacks:  # a scenario may bring a HealthCallback that stops
            if (reason := getattr(held, "stopped_by", None)) is not None:
                raise TrainingStopped(reason)


def check_trainer(trainer: Any, scenario: Scenario) -> None:
    """Refuse what is no trainer.

    Raises:
        UsageError: `trainer` cannot train and take callbacks.
    """
    trains = all(callable(getattr(trainer, name, None)) for name in ("train", "add_callback"))
    if isinstance(trainer, type) or not trains:
        shown = "None" if trainer is None else f"{'the class ' if isinstance(trainer, type) else ''}{name_of(trainer)}"
        raise UsageError(
            f"{scenario.name}: its function returned {shown}: return a TRL trainer that is ready to train, for example "
            "GRPOTrainer(...), and leave train() to rlhf-assert"
        )


def save_initial_weights(trainer: Any, recording: LiveRecording) -> str | None:
    """Save the weights of step 0 beside the checkpoints; None if the model is too large for it."""
    model = policy_of(trainer)
    if sum(parameter.numel() * parameter.element_size() for parameter in model.parameters()) > INITIAL_WEIGHTS_LIMIT:
        return None
    folder = recording.path / "checkpoints" / "initial"
    shutil.rmtree(folder, ignore_errors=True)
    if recording.rank == 0:
        model.save_pretrained(folder)
    return str(folder.relative_to(recording.path))


@contextmanager
def frozen_garbage() -> Iterator[None]:
    """Keep collections from scanning what exists already: PPO collects twice a step, 0.3 s each with TRL in memory."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


BACKEND = TRLBackend()
