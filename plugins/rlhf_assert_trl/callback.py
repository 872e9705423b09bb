"""`HealthCallback`: records a TRL training as a run directory and detects while it goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from transformers import TrainerCallback  # noqa: TID253 - only imported by who has transformers in memory already

from rlhf_assert.detect.anomaly import Anomaly, Detector
from rlhf_assert.detect.settings import Settings, project_settings
from rlhf_assert.errors import TrainingStopped, UsageError
from rlhf_assert.recording.crash import name_error
from rlhf_assert.recording.events import (
    EpochBegin,
    EpochEnd,
    Evaluate,
    Evaluation,
    Event,
    OptimizerStep,
    Predict,
    PreOptimizerStep,
    ReferenceFingerprint,
    SamplesUnavailable,
    Save,
    StepBegin,
    StepEnd,
    SubstepEnd,
    TrainSummary,
)
from rlhf_assert.recording.live_detection import severity_to_stop_on
from rlhf_assert.recording.live_recording import LiveRecording
from rlhf_assert.recording.recorder import Recorder
from rlhf_assert_tiny.reference import reference_fingerprint
from rlhf_assert_trl.describe import describe
from rlhf_assert_trl.frames import find_trainer
from rlhf_assert_trl.promises import algorithm_of
from rlhf_assert_trl.samples import Capture, capture_for
from rlhf_assert_trl.watches import Watches


def _lifecycle(kind: type[Event]) -> Callable[..., None]:
    def record(self: HealthCallback, args: Any, state: Any, control: Any, **_: Any) -> None:
        del args, control
        if self._recording is not None:
            self._recording.event(kind(step=state.global_step))

    record.__doc__ = f"Record the event {kind.__name__}."
    return record


class HealthCallback(TrainerCallback):  # type: ignore[misc]
    """Records a training and watches it: `trainer.add_callback(HealthCallback("runs/mine"))`.

    Rank 0 records metrics, samples and events and detects anomalies; every rank records its resources. An error of its
    own, of a detector or of a hook becomes an event; only a run directory that cannot be written ends the training.

    Args:
        run: the run directory to create; or a recorder or a live recording, whose owner finishes it.
        stop_on: the severity from which an anomaly stops the training; None never stops it. PPO, which has no other
            way, ends with `TrainingStopped`; every other trainer's `train()` returns early.
        on_anomaly: called with each `Anomaly` when it is found, on rank 0.
        samples: whether to record what GRPO, RLOO, OnlineDPO and PPO generate.
        detectors: fresh detectors in place of the default ones, which know the algorithm and its configuration.
        settings: what is set about the default detectors; by default `[tool.rlhf-assert]` of the nearest
            pyproject.toml, in the working folder or above it. The run keeps them, so that `rlhf-assert check` judges
            by the same. A recorder brings its own.

    Attributes:
        stopped_by: why this callback stopped the training, or None.

    Raises:
        UsageError: an unknown `stop_on`, or settings that cannot be right; at the start of training, a run directory
            that holds a run already.
        RecordingError: the run directory cannot be written.
    """

    def __init__(
        self,
        run: LiveRecording | Recorder | str | os.PathLike[str],
        *,
        stop_on: Literal["warning", "critical"] | None = None,
        on_anomaly: Callable[[Anomaly], object] | None = None,
        samples: bool = True,
        detectors: Iterable[Detector] | None = None,
        settings: Settings | None = None,
    ) -> None:
        severity_to_stop_on(stop_on)
        self.stopped_by: str | None = None
        if isinstance(run, LiveRecording) and (stop_on, on_anomaly, detectors) != (None, None, None):
            raise UsageError("stop_on, on_anomaly and detectors: give them to the LiveRecording itself")
        self._run = run if isinstance(run, LiveRecording | Recorder) else Path(run)
        self._options: dict[str, Any] = {"stop_on": stop_on, "on_anomaly": on_anomaly, "detectors": detectors}
        self._wants_samples = samples
        self._settings = settings or project_settings() if isinstance(self._run, Path) else None
        self._recording: LiveRecording | None = None
        self._trainer: Any = None
        self._algorithm = ""
        self._capture: Capture | None = None
        self._watches = Watches()
        self._stop_step: int | None = None

    on_step_begin = _lifecycle(StepBegin)
    on_substep_end = _lifecycle(SubstepEnd)
    on_pre_optimizer_step = _lifecycle(PreOptimizerStep)
    on_optimizer_step = _lifecycle(OptimizerStep)
    on_epoch_begin = _lifecycle(EpochBegin)
    on_epoch_end = _lifecycle(EpochEnd)
    on_evaluate = _lifecycle(Evaluate)
    on_predict = _lifecycle(Predict)
    on_save = _lifecycle(Save)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Open the run directory, find the trainer, and start to watch it."""
        del control
        recording = self._recording = self._open(args, state)
        step = state.global_step
        with recording.timed():
            self._trainer = recording.guard("find_trainer", find_trainer, self)
            self._algorithm = algorithm_of(self._trainer)
            if recording.rank == 0 and self._trainer is not None and "algorithm" not in recording.info:
                described = recording.guard("describe", describe, self._trainer) or {}
                recording.learn(**{"algorithm": self._algorithm, **described})
            recording.begin(step)
            if recording.rank == 0:
                self._fingerprint_reference(recording, step)
                self._start_samples(recording, step)
                recording.guard("watches", self._watches.start, self._trainer, recording)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Record the samples of the step.

        Raises:
            TrainingStopped: this callback stops the training, and the trainer's loop ignores `control`, as PPO's does.
        """
        del args, control
        recording, step = self._recording, state.global_step
        if recording is None:
            return
        recording.event(StepEnd(step=step))
        self._record_samples(recording, step)
        recording.guard("watches", self._watches.end_step, step)
        # PPO ends a step after its log, so every callback has seen the row; other loops end it before.
        if self._stop_step is not None and step > self._stop_step - (self._algorithm == "ppo"):
            self.close()
            raise TrainingStopped(self.stopped_by)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Record the row, and stop the training if it shows what to stop at."""
        recording, step = self._recording, state.global_step
        if recording is None or not logs:
            return
        if "train_runtime" in logs:
            recording.event(TrainSummary(step=step, metrics=dict(logs)))
        elif any(key.startswith("eval_") for key in logs):
            recording.event(Evaluation(step=step, metrics=dict(logs)))
        else:
            if self._algorithm == "ppo":  # it logs before the step ends
                self._record_samples(recording, step)
            row = {key: value for key, value in logs.items() if key != "epoch"}
            anomaly = recording.row(step, row, epoch=None if state.epoch is None else float(state.epoch))
            if recording.may_stop and _any_rank(args, anomaly is not None):
                self._stop_step = step
                recording.stop(step, anomaly or "stopped by rank 0")
                self.stopped_by = recording.stopped_by
                control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the epoch and finish the run, if no one else owns it."""
        del args, control
        recording, step = self._recording, state.global_step
        if recording is None:
            return
        recording.end_epoch(step)
        if recording.rank == 0:
            self._fingerprint_reference(recording, step)
        self._leave_trainer()
        recording.end(step)
        self.close()

    def close(self) -> None:
        """Stop sampling resources, leave the trainer as it was, and finish the run directory if it is this callback's.

        Called at the end of the training; a second call does nothing.
        """
        recording, self._recording = self._recording, None
        if recording is None:
            return
        self._leave_trainer()
        if isinstance(self._run, Path):
            recording.finish()
        else:
            recording.close()

    def _open(self, args: Any, state: Any) -> LiveRecording:
        if isinstance(self._run, LiveRecording):
            return self._run
        if isinstance(self._run, Recorder):
            return LiveRecording(self._run, **self._options)
        rank, path = int(args.process_index), self._run
        if rank == 0 and state.global_step == 0 and (path / "run.json").exists():
            raise UsageError(f"{path}: holds a recorded run already: choose another folder, or delete it")
        assert self._settings is not None
        about = {"backend": "trl", "seed": args.seed, "steps": state.max_steps, "detection": self._settings.table()}
        return LiveRecording(Recorder(path, rank=rank, **about), **self._options)

    def _leave_trainer(self) -> None:
        capture, self._capture = self._capture, None
        if capture is not None:
            capture.close()
        self._watches.close()
        self._trainer = None

    def _fingerprint_reference(self, recording: LiveRecording, step: int) -> None:
        fingerprint = recording.guard("reference_fingerprint", reference_fingerprint, self._trainer)
        if fingerprint is not None:
            recording.event(ReferenceFingerprint(step=step, fingerprint=fingerprint))

    def _start_samples(self, recording: LiveRecording, step: int) -> None:
        if not self._wants_samples:
            return
        if self._trainer is None:
            recording.event(SamplesUnavailable(step=step, reason="no trainer calls this callback"))
            return
        try:
            self._capture = capture_for(self._trainer, self._algorithm)
        except Exception as error:  # noqa: BLE001 - a TRL that we do not know must not cost anybody a training
            recording.event(SamplesUnavailable(step=step, reason=name_error(error)))

    def _record_samples(self, recording: LiveRecording, step: int) -> None:
        capture = self._capture
        if capture is None:
            return
        with recording.timed():
            batch = capture.take(step)
            recording.samples(batch.records, batch.metrics)
            if capture.failure is not None:
                recording.event(SamplesUnavailable(step=step, reason=capture.failure))
                capture.close()
                self._capture = None


def _any_rank(args: Any, wanted: bool) -> bool:  # noqa: FBT001 - a truth value to agree on
    """Return whether any rank wants it; asks the others only if there are some."""
    if int(getattr(args, "world_size", 1) or 1) == 1:
        return wanted
    import torch

    if not torch.distributed.is_initialized():
        return wanted
    flag = torch.tensor([int(wanted)], device=args.device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return bool(flag.item())
