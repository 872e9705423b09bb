"""Faults of the gradients and of the optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch  # noqa: TID253 - only imported by who has torch in memory already

from rlhf_assert_trl.faults.injection import Injection


def optimizer_of(trainer: Any) -> torch.optim.Optimizer:
    """Return the trainer's optimizer, free of wrappers; it exists from the beginning of the training on."""
    return getattr(trainer.optimizer, "optimizer", trainer.optimizer)


def _around_update(
    injection: Injection, before: Callable[[torch.optim.Optimizer], None], after: Callable[[Any], None] | None = None
) -> None:
    """Call `before(optimizer)` and `after(optimizer)` around every update that the fault touches."""

    def install() -> None:
        optimizer = optimizer_of(injection.trainer)
        hooks = [optimizer.register_step_pre_hook(lambda held, *_: before(held) if injection.active else None)]
        if after is not None:
            hooks.append(optimizer.register_step_post_hook(lambda held, *_: after(held) if injection.active else None))
        for hook in hooks:
            injection.undo_with(hook.remove)

    injection.at_train_begin(install)


def _rate(injection: Injection, changed: Callable[[float], float]) -> None:
    kept: list[float] = []

    def before(optimizer: torch.optim.Optimizer) -> None:
        kept[:] = [group["lr"] for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            group["lr"] = changed(group["lr"])

    def after(optimizer: torch.optim.Optimizer) -> None:
        for group, rate in zip(optimizer.param_groups, kept, strict=True):
            group["lr"] = rate

    _around_update(injection, before, after)


def _learning_rate_spike(injection: Injection) -> None:
    _rate(injection, lambda rate: rate * injection.magnitude if injection.begins else rate)


def _learning_rate_zero(injection: Injection) -> None:
    _rate(injection, lambda _: 0.0)


def _gradient_drop(injection: Injection) -> None:
    parameters = injection.parameters
    dropped = [parameters[index] for index in injection.pick(len(parameters), injection.magnitude)]

    def drop(_: torch.optim.Optimizer) -> None:
        for parameter in dropped:
            parameter.grad = None  # an optimizer passes over it; a gradient of 0 would still move it by its momentum

    _around_update(injection, drop)


def _on_gradients(
    injection: Injection, change: Callable[[torch.Tensor], object], parameters: list[torch.nn.Parameter]
) -> None:
    """Call `change(gradient)` in place on each gradient as soon as it is there, before it is clipped."""

    def hook(parameter: torch.Tensor) -> None:
        if injection.active and parameter.grad is not None:
            change(parameter.grad)

    for parameter in parameters:
        injection.undo_with(parameter.register_post_accumulate_grad_hook(hook).remove)


def _gradient_noise(injection: Injection) -> None:
    def add_noise(gradient: torch.Tensor) -> None:
        scale = injection.magnitude * gradient.std(correction=0)
        gradient.add_(scale * injection.draw(torch.randn, gradient))

    _on_gradients(injection, add_noise, injection.parameters)


def _gradient_clipping_off(injection: Injection) -> None:
    injection.set(injection.trainer.args, "max_grad_norm", injection.trainer.args.max_grad_norm)
    injection.at_onset(lambda: setattr(injection.trainer.args, "max_grad_norm", 0.0))
    _on_gradients(injection, lambda gradient: gradient.mul_(injection.magnitude), injection.parameters)


def _spoil_one(value: float) -> Callable[[Injection], None]:
    def install(injection: Injection) -> None:
        def spoil(gradient: torch.Tensor) -> None:
            if injection.begins:
                gradient.view(-1)[0] = value

        parameters = injection.parameters
        _on_gradients(injection, spoil, [parameters[index] for index in injection.pick(len(parameters), 1e-9)])

    return install


def _optimizer_state_lost(injection: Injection) -> None:
    def forget() -> None:
        optimizer_of(injection.trainer).state.clear()  # there is no optimizer yet while this is installed

    injection.at_onset(forget)


INSTALLERS: dict[str, Callable[[Injection], None]] = {
    "learning_rate_spike": _learning_rate_spike,
    "learning_rate_zero": _learning_rate_zero,
    "gradient_drop": _gradient_drop,
    "gradient_noise": _gradient_noise,
    "gradient_clipping_off": _gradient_clipping_off,
    "gradient_nan": _spoil_one(math.nan),
    "gradient_inf": _spoil_one(math.inf),
    "optimizer_state_lost": _optimizer_state_lost,
}
