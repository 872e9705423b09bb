"""Events of the training loop: where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlhf_assert.recording.events.event import Event, OfStep, event


@event("train_begin")
class TrainBegin(Event):
    """The training loop begins, at step 0 or at the step from which it resumes."""


@event("resume")
class Resume(OfStep):
    """A second process goes on after `step`, where the first was interrupted."""


@event("train_end")
class TrainEnd(Event):
    """The training loop has ended."""


@event("epoch_begin")
class EpochBegin(Event):
    """An epoch begins."""


@event("epoch_end")
class EpochEnd(Event):
    """An epoch has ended."""


@event("step_begin")
class StepBegin(OfStep):
    """A step begins; `step` counts the steps that were made before it."""


@event("substep_end")
class SubstepEnd(OfStep):
    """One of the batches whose gradients are accumulated is done."""


@event("pre_optimizer_step")
class PreOptimizerStep(OfStep):
    """The gradients are complete and clipped; the optimizer is about to step."""


@event("optimizer_step")
class OptimizerStep(OfStep):
    """The optimizer has stepped, and the gradients are still there."""


@event("step_end")
class StepEnd(OfStep):
    """A step has ended."""


@event("log")
class Log(OfStep):
    """A row of metrics was logged."""


@event("save")
class Save(Event):
    """A checkpoint was saved."""


@event("evaluate")
class Evaluate(Event):
    """An evaluation has ended."""


@event("predict")
class Predict(Event):
    """A prediction has ended."""


@event("evaluation")
class Evaluation(Event):
    """An evaluation logged its metrics.

    Attributes:
        metrics: the trainer's row, under its own keys.
    """

    metrics: Mapping[str, Any]


@event("train_summary")
class TrainSummary(Event):
    """The trainer logged the totals of the training.

    Attributes:
        metrics: the trainer's row, under its own keys.
    """

    metrics: Mapping[str, Any]


@event("relaunch")
class Relaunch(Event):
    """Ray did not come up in time, so OpenRLHF was launched once more; see `output-first-launch.log`.

    Attributes:
        reason: what the first launch ended with.
    """

    reason: str
