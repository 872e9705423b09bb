"""What each update of the optimizer really did: its learning rate, its gradient, and which weights it moved.

A trainer logs what it was told: the schedule's learning rate, the gradient before it is clipped. What is recorded here
is taken at the optimizer itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch  # noqa: TID253 - only imported by who has torch in memory already

from rlhf_assert.recording.events import Update, UpdatesUnavailable
from rlhf_assert.recording.live_recording import LiveRecording
from rlhf_assert_tiny.weights import ELEMENTS, sample_weights

SETTLED = 5
"""Updates in which a tensor must have moved, every time, before its standstill means something."""


class UpdateWatch:
    """Records an `Update` for each step of an optimizer; made when the training begins.

    A tensor has `stopped` if it moved in every update before, and not since. It takes `SETTLED` updates to tell; those
    at a learning rate of 0 do not count.

    Args:
        trainer: a trainer whose optimizer exists.
        recording: takes the events.

    Raises:
        AttributeError: the trainer's optimizer is none of torch's.
    """

    def __init__(self, trainer: Any, recording: LiveRecording) -> None:
        self._trainer = trainer
        self._recording = recording
        self.failure: str | None = None
        optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
        self._parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        sizes = [-(-parameter.numel() // (-(-parameter.numel() // ELEMENTS) or 1)) for parameter in self._parameters]
        self._starts = np.cumsum([0, *sizes[:-1]])
        self._weights = sample_weights(self._parameters)
        self._moved_always = np.ones(len(self._parameters), dtype=bool)
        self._standing = np.zeros(len(self._parameters), dtype=bool)
        self._updates = 0
        self._before: dict[str, Any] = {}
        self._hooks = [
            optimizer.register_step_pre_hook(self._guarded(self._see_before)),
            optimizer.register_step_post_hook(self._guarded(self._see_after)),
        ]

    def close(self) -> None:
        """Leave the optimizer as it was."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _guarded(self, function: Callable[[Any], None]) -> Callable[..., None]:
        def watch(optimizer: Any, *_: Any) -> None:
            if self.failure is not None:
                return
            try:
                function(optimizer)
            except Exception as error:  # noqa: BLE001 - a training must not break because of who watches it
                self.failure = f"{type(error).__name__}: {error}"
                step = self._trainer.state.global_step
                self._recording.event(UpdatesUnavailable(step=step, reason=self.failure))

        return watch

    def _see_before(self, optimizer: Any) -> None:
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        scheduler = getattr(self._trainer, "lr_scheduler", None)
        weights = sample_weights(self._parameters)
        written, self._weights = self._changed(weights), weights
        self._before = {
            "written": int(written.sum()),
            "learning_rate": float(optimizer.param_groups[0]["lr"]),
            "scheduled": None if scheduler is None else float(scheduler.get_last_lr()[0]),
            "grad_norm": float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0,
            "without_gradient": len(self._parameters) - len(gradients),
        }

    def _see_after(self, optimizer: Any) -> None:
        weights = sample_weights(self._parameters)
        moved, self._weights = self._changed(weights), weights
        if self._before["learning_rate"] > 0.0:  # without one, as in the first update of a warm-up, nothing can move
            if self._updates >= SETTLED:
                self._standing = ~moved & (self._standing | self._moved_always)
            self._moved_always &= moved
            self._updates += 1
        update = Update(
            step=self._trainer.state.global_step + 1,
            **self._before,
            tensors=len(self._parameters),
            stopped=int(self._standing.sum()),
            optimizer_step=_adam_step(optimizer),
        )
        self._recording.event(update)

    def _changed(self, weights: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return for each tensor whether any watched element of it changed, in its bits: NaN equals NaN."""
        different = weights.view(np.int32) != self._weights.view(np.int32)
        changed: np.ndarray[Any, Any] = np.logical_or.reduceat(different, self._starts)
        return changed


class ReferenceWatch:
    """Tells at which step the weights of a model that must stand still changed."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._parameters = list(model.parameters())
        self._weights = sample_weights(self._parameters)

    def moved(self) -> bool:
        """Return whether any watched weight differs from the last call, or from the beginning."""
        before, self._weights = self._weights, sample_weights(self._parameters)
        return before.tobytes() != self._weights.tobytes()


def _adam_step(optimizer: Any) -> int | None:
    """Return the largest count of steps in the optimizer's state; parameters without gradients lag behind."""
    steps = [state["step"] for state in optimizer.state.values() if "step" in state]
    return int(max(float(step) for step in steps)) if steps else None
