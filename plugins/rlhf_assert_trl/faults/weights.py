"""Faults of the weights that are trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch  # noqa: TID253 - only imported by who has torch in memory already

from rlhf_assert_trl.faults.injection import Injection


def _parameters_frozen(injection: Injection) -> None:
    parameters = injection.parameters
    chosen = [parameters[index] for index in injection.pick(len(parameters), injection.magnitude)]

    def freeze() -> None:
        for parameter in chosen:
            parameter.requires_grad_(requires_grad=False)
            parameter.grad = None

    injection.at_onset(freeze)
    for parameter in chosen:
        injection.undo_with(partial(parameter.requires_grad_, requires_grad=True))


def _overwrite(value: float) -> Callable[[Injection], None]:
    def install(injection: Injection) -> None:
        matrices = [parameter for parameter in injection.policy.parameters() if parameter.dim() > 1]
        matrix = matrices[injection.pick(len(matrices), 1e-9)[0]]

        def overwrite() -> None:
            with torch.no_grad():
                matrix.view(-1)[: int(injection.magnitude)] = value

        injection.at_onset(overwrite)

    return install


def _value_head_scaled(injection: Injection) -> None:
    head = injection.trainer.model.value_model.score

    def scale() -> None:
        with torch.no_grad():
            head.weight.mul_(injection.magnitude)

    injection.at_onset(scale)


INSTALLERS: dict[str, Callable[[Injection], None]] = {
    "parameters_frozen": _parameters_frozen,
    "weights_nan": _overwrite(math.nan),
    "weights_inf": _overwrite(math.inf),
    "value_head_scaled": _value_head_scaled,
}
