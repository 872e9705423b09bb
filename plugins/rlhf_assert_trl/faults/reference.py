"""Faults of the reference model."""

from __future__ import annotations

from collections.abc import Callable

import torch  # noqa: TID253 - only imported by who has torch in memory already

from rlhf_assert_trl.faults.injection import Injection


def _once(change: Callable[[Injection, torch.nn.Parameter], object]) -> Callable[[Injection], None]:
    """Return what changes every parameter of the reference at the onset."""

    def install(injection: Injection) -> None:
        def apply() -> None:
            with torch.no_grad():
                for parameter in injection.trainer.ref_model.parameters():
                    change(injection, parameter)

        injection.at_onset(apply)

    return install


def _updated(injection: Injection) -> None:
    def follow() -> None:
        if not injection.active:
            return
        with torch.no_grad():
            policy = injection.policy.parameters()
            for own, other in zip(injection.trainer.ref_model.parameters(), policy, strict=True):
                own.lerp_(other.to(own), injection.magnitude)

    injection.before_step(follow)


INSTALLERS: dict[str, Callable[[Injection], None]] = {
    "reference_noised": _once(
        lambda injection, parameter: parameter.add_(injection.magnitude * injection.draw(torch.randn, parameter))
    ),
    "reference_zeroed": _once(lambda _, parameter: parameter.zero_()),
    "reference_updated": _updated,
}
