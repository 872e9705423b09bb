"""Faults of generation, and of how the policy is evaluated on what it generated."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch  # noqa: TID253 - only imported by who has torch in memory already

from rlhf_assert_trl.faults.injection import Injection


def _while_generating(injection: Injection, change: Callable[[Any], Any]) -> None:
    """Generate inside of the context `change(generation_config)`, in the steps that the fault touches."""

    def generating(generate: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        injection.begin_step()
        if not injection.active:
            return generate(*args, **kwargs)
        with change(kwargs.get("generation_config")):
            return generate(*args, **kwargs)

    injection.wrap(injection.policy, "generate", generating)


@contextmanager
def _changed(config: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(config, name)
    setattr(config, name, value)
    try:
        yield
    finally:
        setattr(config, name, before)


def _temperature_mismatch(injection: Injection) -> None:
    _while_generating(
        injection, lambda config: _changed(config, "temperature", config.temperature * injection.magnitude)
    )


def _truncation(injection: Injection) -> None:
    _while_generating(injection, lambda config: _changed(config, "max_new_tokens", max(1, int(injection.magnitude))))


def _rollout_weights_stale(injection: Injection) -> None:
    policy = injection.policy
    past: deque[list[torch.Tensor]] = deque(maxlen=int(injection.magnitude) + 1)

    def keep() -> None:
        past.append([parameter.detach().clone() for parameter in policy.parameters()])

    def load(weights: list[torch.Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(policy.parameters(), weights, strict=True):
                parameter.copy_(value)

    @contextmanager
    def stale(_: Any) -> Iterator[None]:
        load(past[0])
        try:
            yield
        finally:
            load(past[-1])

    injection.before_step(keep)
    _while_generating(injection, stale)


def _eos_as_pad(injection: Injection) -> None:
    trainer = injection.trainer
    tokenizer = getattr(trainer.processing_class, "tokenizer", trainer.processing_class)
    kept = tokenizer.eos_token, tokenizer.pad_token

    def name(end: str, padding: str) -> None:
        tokenizer.eos_token, tokenizer.pad_token = end, padding
        config = getattr(trainer, "generation_config", None)
        if config is not None:
            config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
        if getattr(trainer, "stop_token_id", None) is not None:  # PPO
            trainer.stop_token_id = tokenizer.eos_token_id

    injection.at_onset(lambda: name(kept[1], kept[0]))
    injection.undo_with(lambda: name(*kept))


def _dropout_left_on(injection: Injection) -> None:
    def drop(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor | None:
        if not injection.active:
            return None
        kept = injection.draw(torch.rand, output) >= injection.magnitude
        return output * kept / (1.0 - injection.magnitude)

    injection.undo_with(injection.policy.get_input_embeddings().register_forward_hook(drop).remove)


INSTALLERS: dict[str, Callable[[Injection], None]] = {
    "temperature_mismatch": _temperature_mismatch,
    "truncation": _truncation,
    "rollout_weights_stale": _rollout_weights_stale,
    "eos_as_pad": _eos_as_pad,
    "dropout_left_on": _dropout_left_on,
}
