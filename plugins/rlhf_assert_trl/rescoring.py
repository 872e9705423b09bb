"""Scores the last batch of a training a second time: a reward that depends on the completion alone repeats itself."""

from __future__ import annotations

from typing import Any

from rlhf_assert.recording.events import Rescored, RescoringFailed
from rlhf_assert.recording.live_recording import LiveRecording
from rlhf_assert_trl.promises import algorithm_of
from rlhf_assert_trl.samples import MAX_PER_STEP, Observer


class RewardMemory:
    """Remembers what a trainer scored last. Made before the training; nothing is scored twice before its end.

    A second scoring in the middle would disturb rewards that count their calls or draw at random.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._observer = Observer(trainer)
        self._last: tuple[tuple[Any, ...], dict[str, Any], list[float], int] | None = None
        self._owner, self._name = _scorer(trainer)
        if self._name:
            self._observer.watch(self._name, self._see, owner=self._owner)

    def rescore(self, recording: LiveRecording) -> None:
        """Score the last batch again, and record both scorings as an event `rescored`."""
        self._observer.undo()
        if self._last is None:
            return
        args, kwargs, first, step = self._last
        again = self._observer.guard(lambda: self._numbers(getattr(self._owner, self._name)(*args, **kwargs)))
        if again is None:
            recording.event(RescoringFailed(step=step, reason=self._observer.failure))
        else:
            recording.event(Rescored(step=step, first=tuple(first), second=tuple(again)))

    def close(self) -> None:
        """Leave the trainer as it was."""
        self._observer.undo()

    def _see(self, result: Any, *args: Any, **kwargs: Any) -> None:
        if algorithm_of(self._trainer) == "ppo" and args[0] is not self._trainer.reward_model:
            return  # the same function gives values
        self._last = (args, kwargs, self._numbers(result), int(self._trainer.state.global_step) + 1)

    def _numbers(self, result: Any) -> list[float]:
        """Return one reward per completion: of GRPO and RLOO the sum over the functions."""
        rewards = result[1] if isinstance(result, tuple) else result
        if rewards.dim() == 2:
            rewards = rewards.nansum(1)
        numbers: list[float] = rewards[:MAX_PER_STEP].tolist()
        return numbers


def _scorer(trainer: Any) -> tuple[Any, str]:
    """Return the owner and the name of what scores the completions of a trainer; an empty name if nothing does."""
    algorithm = algorithm_of(trainer)
    if algorithm == "ppo":
        from trl.experimental.ppo import ppo_trainer

        return ppo_trainer, "get_reward"
    names = {
        "grpo": "_calculate_rewards",
        "rloo": "_calculate_rewards",
        "online-dpo": "_calculate_rewards_from_functions",
    }
    name = names.get(algorithm, "")
    return trainer, name if hasattr(trainer, name or " ") else ""
