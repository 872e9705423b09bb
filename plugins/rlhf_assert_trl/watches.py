"""What is watched of any trainer beside its log and its samples: updates, the reference, the order of the data."""

from __future__ import annotations

from typing import Any

from rlhf_assert.recording.events import Batch, HookFailed, Objective, ReferenceMoved, UpdatesUnavailable
from rlhf_assert.recording.live_recording import LiveRecording
from rlhf_assert_tiny.digest import digest_of
from rlhf_assert_trl.preference import ReferenceLogprobs
from rlhf_assert_trl.promises import algorithm_of
from rlhf_assert_trl.samples import Observer
from rlhf_assert_trl.updates import ReferenceWatch, UpdateWatch


class Watches:
    """Everything that is watched of one trainer; what cannot be is an event `..._unavailable` with its reason."""

    def __init__(self) -> None:
        self._recording: LiveRecording | None = None
        self._updates: UpdateWatch | None = None
        self._reference: ReferenceWatch | None = None
        self._observer: Observer | None = None
        self._preference: ReferenceLogprobs | None = None
        self._trainer: Any = None
        self._losses: list[Any] = []
        self._told = False

    def start(self, trainer: Any, recording: LiveRecording) -> None:
        """Begin to watch; called when the training begins, on rank 0."""
        import torch

        if trainer is None:
            return
        self._trainer, self._recording = trainer, recording
        self._observer = Observer(trainer)
        model = getattr(trainer, "ref_model", None)
        if isinstance(model, torch.nn.Module):
            self._reference = self._observer.guard(ReferenceWatch, model)
            if algorithm_of(trainer) in {"dpo", "kto"}:
                self._preference = self._observer.guard(ReferenceLogprobs, trainer, self._observer, recording)
        try:
            self._updates = UpdateWatch(trainer, recording)
        except (AttributeError, TypeError, RuntimeError) as error:
            reason = f"{type(error).__name__}: {error}"
            recording.event(UpdatesUnavailable(step=trainer.state.global_step, reason=reason))
        if algorithm_of(trainer) == "ppo":  # it logs the parts of its loss, and not the whole
            self._observer.watch("backward", self._see_loss, owner=trainer.accelerator)
        elif hasattr(trainer, "get_batch_samples"):
            self._observer.watch("get_batch_samples", self._see_batch)

    def end_step(self, step: int) -> None:
        """Look at what must not change in a step."""
        if self._observer is None or self._recording is None:
            return
        if self._reference is not None and self._observer.guard(self._reference.moved):
            self._recording.event(ReferenceMoved(step=step))
        if self._observer.failure is not None and not self._told:
            self._told = True
            self._recording.event(HookFailed(step=step, hook="watches", error=self._observer.failure))
        if self._losses:
            self._recording.event(Objective(step=step, loss=sum(map(float, self._losses)) / len(self._losses)))
            self._losses.clear()

    def close(self) -> None:
        """Leave the trainer as it was."""
        if self._updates is not None:
            self._updates.close()
        if self._preference is not None:
            self._preference.close()
        if self._observer is not None:
            self._observer.undo()
        self.__init__()  # type: ignore[misc]

    def _see_loss(self, _: Any, loss: Any, *__: Any, **___: Any) -> None:
        self._losses.append(loss.detach())

    def _see_batch(self, result: Any, *_: Any, **__: Any) -> None:
        batches = result[0]
        if batches and self._recording is not None:
            step = int(self._trainer.state.global_step) + 1
            self._recording.event(Batch(step=step, digest=digest_of(batches)))
