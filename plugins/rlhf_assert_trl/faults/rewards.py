"""Faults of the rewards, whatever gives them: reward functions, or PPO's reward model."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import torch  # noqa: TID253 - only imported by who has torch in memory already

from rlhf_assert_tiny.corruption import CORRUPTIONS, Batch
from rlhf_assert_trl.faults.injection import Injection

Corruption = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Takes a batch's rewards, shape (batch,), and the lengths of its completions in tokens; returns the rewards."""


def functions_of(trainer: Any) -> dict[int, Callable[..., Any]]:
    """Return the trainer's reward functions by their position; reward models are none."""
    given = getattr(trainer, "reward_funcs", None) or []
    return {index: function for index, function in enumerate(given) if not isinstance(function, torch.nn.Module)}


def _corrupt(injection: Injection, corruption: Corruption) -> None:
    if injection.algorithm == "ppo":
        _corrupt_model(injection, corruption)
        return
    functions = injection.trainer.reward_funcs
    for index, function in functions_of(injection.trainer).items():
        functions[index] = _corrupted(function, corruption)
        injection.undo_with(functools.partial(functions.__setitem__, index, function))


def _corrupted(function: Callable[..., Any], corruption: Corruption) -> Callable[..., Any]:
    def corrupt(rewards: Any, lengths: list[list[int]]) -> list[float]:
        numbers = torch.tensor([math.nan if reward is None else float(reward) for reward in rewards])
        changed: list[float] = corruption(numbers, torch.tensor([len(tokens) for tokens in lengths])).tolist()
        return changed

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def corrupted_later(*args: Any, completion_ids: Any, **kwargs: Any) -> list[float]:
            return corrupt(await function(*args, completion_ids=completion_ids, **kwargs), completion_ids)

        return corrupted_later

    @functools.wraps(function)
    def corrupted(*args: Any, completion_ids: Any, **kwargs: Any) -> list[float]:
        return corrupt(function(*args, completion_ids=completion_ids, **kwargs), completion_ids)

    return corrupted


def _corrupt_model(injection: Injection, corruption: Corruption) -> None:
    """Corrupt PPO's rewards where its trainer takes them: it calls `get_reward` for values and for rewards."""
    from trl.experimental.ppo import ppo_trainer

    def corrupted(get_reward: Any, model: Any, tokens: Any, pad: int, context: int) -> Any:
        logits, rewards, ends = get_reward(model, tokens, pad, context)
        if model is injection.trainer.reward_model:
            rewards = corruption(rewards.cpu(), (tokens[:, context:] != pad).sum(1).cpu()).to(rewards)
        return logits, rewards, ends

    injection.wrap(ppo_trainer, "get_reward", corrupted)


def _simply(name: str) -> Callable[[Injection], None]:
    """Return what installs a corruption that knows one batch only."""

    def install(injection: Injection) -> None:
        def corruption(rewards: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            if not injection.active:
                return rewards
            return CORRUPTIONS[name](Batch(rewards, lengths, injection.magnitude, injection.random))

        _corrupt(injection, corruption)

    return install


def _delayed(injection: Injection) -> None:
    waiting: list[torch.Tensor] = []

    def delay(rewards: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        waiting.append(rewards)
        late = waiting.pop(0) if len(waiting) > injection.magnitude else waiting[0]
        return late if injection.active and len(late) == len(rewards) else rewards

    _corrupt(injection, delay)


INSTALLERS: dict[str, Callable[[Injection], None]] = {
    **{name: _simply(name) for name in CORRUPTIONS},
    "reward_delayed": _delayed,
}
