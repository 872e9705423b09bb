"""The average of the policy's weights (EMA), which only an update of the policy may move, and only so far.

Some elements of each tensor are looked at, before and after each averaging.
"""

from __future__ import annotations

from typing import Any

from rlhf_assert_openrlhf.inside.post_import import after, expect_parameters
from rlhf_assert_openrlhf.inside.recording import guarded, tell

ROUNDING = 2.0**-6
"""Largest sound difference of an average from what it should be, over its size: four units in the last place of
bfloat16, in which it is kept."""


def sample(model: Any) -> Any:
    """Return evenly spread elements of a model's tensors, under ZeRO-3 of this rank's share of them."""
    from rlhf_assert_tiny.weights import sample_weights

    return sample_weights([getattr(parameter, "ds_tensor", parameter) for parameter in model.parameters()])


def tell_moved(reason: str) -> None:
    """Tell that the average moved, in the step whose metrics come next."""
    tell("within", name="average_moved", fields={"reason": reason})


class AverageWatch:
    """Compares each averaging with what it should do, and the average before it with that after the one before."""

    def __init__(self) -> None:
        self._left: Any = None

    def before(self, average: Any) -> Any:
        """Return the sampled weights of the average; tell if they changed since the last averaging."""
        now = sample(average)
        if self._left is not None and now.tobytes() != self._left.tobytes():
            tell_moved("changed between two updates of the policy")
        return now

    def after(self, policy: Any, average: Any, before: Any, beta: float) -> None:
        """Tell if the average is neither what it was nor a share of `beta` of it and the rest of the policy."""
        import numpy as np

        now = self._left = sample(average)
        due = beta * before + (1.0 - beta) * sample(policy)
        size = np.maximum(np.abs(due), np.abs(before))
        if now.tobytes() != before.tobytes() and not bool(np.all(np.abs(now - due) <= ROUNDING * size + 1e-8)):
            tell_moved(f"is not what a beta of {beta:g} makes of it and the policy")


@after("openrlhf.utils.deepspeed.deepspeed")
def average(module: Any) -> None:
    """Every update of the policy's average."""
    strategy = module.DeepspeedStrategy
    original = strategy.moving_average
    expect_parameters(original, "self", "model", "model_ema", "beta", "device")
    watch = AverageWatch()

    def moving_average(self: Any, model: Any, model_ema: Any, beta: float = 0.992, device: str = "cpu") -> None:
        seen: list[Any] = []
        guarded(lambda: seen.append(watch.before(model_ema)))
        original(self, model, model_ema, beta, device)
        if seen:
            guarded(watch.after, model, model_ema, seen[0], beta)

    strategy.moving_average = moving_average


HOOKS = (average,)
