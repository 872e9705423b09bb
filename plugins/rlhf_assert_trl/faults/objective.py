"""Faults of what is optimised: advantages, and the coefficients of the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch  # noqa: TID253 - only imported by who has torch in memory already

from rlhf_assert_tiny.corruption import deal
from rlhf_assert_trl.faults.injection import Injection


def _advantages(injection: Injection, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    if injection.algorithm == "ppo":
        _whitened_advantages(injection, change)
        return

    def generate(method: Callable[..., dict[str, Any]], *args: Any, **kwargs: Any) -> dict[str, Any]:
        output = method(*args, **kwargs)
        if injection.active:
            changed = output["advantages"] = change(output["advantages"])
            logged = injection.trainer._logs["advantages"]  # noqa: SLF001 - TRL has no public place for them
            for index, value in enumerate(changed.tolist()):  # a trainer that computes wrong ones logs wrong ones
                logged[index - len(changed)] = value
        return output

    injection.wrap(injection.trainer, "_generate_and_score_completions", generate)


def _whitened_advantages(injection: Injection, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Change PPO's advantages where its trainer whitens them; rewards are whitened with `shift_mean`."""
    from trl.experimental.ppo import ppo_trainer

    def whiten(masked_whiten: Any, values: Any, mask: Any, **options: Any) -> Any:
        whitened = masked_whiten(values, mask, **options)
        return change(whitened) if injection.active and "shift_mean" not in options else whitened

    injection.wrap(ppo_trainer, "masked_whiten", whiten)


def _scaled(*names: tuple[str, str]) -> Callable[[Injection, float], None]:
    """Return what multiplies the first of some attributes, (owner, name), that the trainer has."""

    def install(injection: Injection, factor: float) -> None:
        owners = {"trainer": injection.trainer, "args": injection.trainer.args}
        owner, name = next((owners[owner], name) for owner, name in names if name in vars(owners[owner]))
        value = vars(owner)[name]
        changed = [factor * one for one in value] if isinstance(value, list) else factor * value
        injection.set(owner, name, value)
        injection.at_onset(lambda: setattr(owner, name, changed))

    return install


_kl_coefficient = _scaled(("trainer", "_beta"), ("trainer", "beta"), ("args", "kl_coef"))
_value_coefficient = _scaled(("args", "vf_coef"))

INSTALLERS: dict[str, Callable[[Injection], None]] = {
    "advantages_negated": lambda injection: _advantages(injection, torch.neg),
    "advantages_shuffled": lambda injection: _advantages(
        injection, lambda values: deal(values, injection.magnitude, injection.random)
    ),
    "kl_coefficient_wrong": lambda injection: _kl_coefficient(injection, injection.magnitude),
    "kl_coefficient_negated": lambda injection: _kl_coefficient(injection, -injection.magnitude),
    "value_coefficient_wrong": lambda injection: _value_coefficient(injection, injection.magnitude),
}
