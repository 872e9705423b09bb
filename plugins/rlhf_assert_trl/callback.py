"""`HealthCallback`: records a TRL training as a run directory and detects while it goes on."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from transformers import TrainerCallback  # noqa: TID253 - only imported by who has transformers in memory already

from rlhf_assert.detect.anomaly import Anomaly, Detector, Severity, anomaly_found
from rlhf_assert.detect.default import default_detectors
from rlhf_assert.detect.monitor import Monitor
from rlhf_assert.detect.settings import Settings, project_settings, settings_of
from rlhf_assert.errors import TrainingStopped, UsageError, suggest
from rlhf_assert.recording.events import (
    AlertFailed,
    EpochBegin,
    EpochEnd,
    EpochStatistics,
    Evaluate,
    Evaluation,
    Event,
    Log,
    MetricStatistics,
    MonitorFailed,
    OptimizerStep,
    Predict,
    PreOptimizerStep,
    ReferenceFingerprint,
    SamplesUnavailable,
    Save,
    StepBegin,
    StepEnd,
    Stop,
    SubstepEnd,
    TrainBegin,
    TrainEnd,
    TrainSummary,
    TrendChanged,
)
from rlhf_assert.recording.recorder import Recorder
from rlhf_assert.resources import ResourceSampler
from rlhf_assert_tiny.reference import reference_fingerprint
from rlhf_assert_trl.describe import describe
from rlhf_assert_trl.frames import find_trainer
from rlhf_assert_trl.promises import algorithm_of
from rlhf_assert_trl.samples import Capture, capture_for
from rlhf_assert_trl.watches import Watches

STOP_ON = ("warning", "critical")


def _lifecycle(kind: type[Event]) -> Callable[..., None]:
    def record(self: HealthCallback, args: Any, state: Any, control: Any, **_: Any) -> None:
        del args, control
        self._event(kind(step=state.global_step))

    record.__doc__ = f"Record the event {kind.__name__}."
    return record


class HealthCallback(TrainerCallback):  # type: ignore[misc]
    """Records a training and watches it: `trainer.add_callback(HealthCallback("runs/mine"))`.

    Rank 0 records metrics, samples and events and detects; every rank records its resources. An error of its own, of a
    detector or of the hook becomes an event; only a run directory that cannot be written ends the training.

    Args:
        run: the run directory to create, or a recorder whose owner finishes it.
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
        run: Recorder | str | os.PathLike[str],
        *,
        stop_on: Literal["warning", "critical"] | None = None,
        on_anomaly: Callable[[Anomaly], object] | None = None,
        samples: bool = True,
        detectors: Iterable[Detector] | None = None,
        settings: Settings | None = None,
    ) -> None:
        if stop_on is not None and stop_on not in STOP_ON:
            raise UsageError(f"stop_on={stop_on!r}{suggest(str(stop_on), STOP_ON)}: give 'warning', 'critical' or None")
        self.stopped_by: str | None = None
        self._given = run if isinstance(run, Recorder) else None
        self._path = run.path if isinstance(run, Recorder) else Path(run)
        self._stop_on = None if stop_on is None else Severity[stop_on]
        self._on_anomaly = on_anomaly
        self._wants_samples = samples
        self._detectors = detectors
        self._settings = settings_of(run.info) if isinstance(run, Recorder) else settings or project_settings()
        self._monitor: Monitor | None = None
        self._recorder: Recorder | None = None
        self._trainer: Any = None
        self._algorithm = ""
        self._capture: Capture | None = None
        self._sampler: ResourceSampler | None = None
        self._watches = Watches()
        self._extra = _Means()
        self._epoch = 0
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
        """Open the run directory, find the trainer, and start to sample resources."""
        del control
        started = time.perf_counter()
        self._trainer = find_trainer(self)
        recorder = self._recorder = self._given or self._open(args, state)
        self._describe(recorder)
        self._sampler = ResourceSampler(recorder)
        self._sampler.start()
        recorder.event(TrainBegin(step=state.global_step))
        if recorder.rank == 0:
            self._fingerprint_reference(recorder, state)
            self._start_samples(recorder, state)
            self._watches.start(self._trainer, recorder)
        recorder.monitor_seconds += time.perf_counter() - started

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Record the samples of the step.

        Raises:
            TrainingStopped: this callback stops the training, and the trainer's loop ignores `control`, as PPO's does.
        """
        del args, control
        self._event(StepEnd(step=state.global_step))
        self._record_samples(state)
        self._watches.end_step(state.global_step)
        # PPO ends a step after its log, so every callback has seen the row; other loops end it before.
        ended = self._stop_step is not None and state.global_step > self._stop_step - (self._algorithm == "ppo")
        if ended and self._recorder is not None:
            self.close()
            raise TrainingStopped(self.stopped_by)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Record the row, then look for anomalies in it."""
        recorder = self._recorder
        if recorder is None or not logs:
            return
        started = time.perf_counter()
        worst: Anomaly | None = None
        if "train_runtime" in logs:
            recorder.event(TrainSummary(step=state.global_step, metrics=dict(logs)))
        elif any(key.startswith("eval_") for key in logs):
            recorder.event(Evaluation(step=state.global_step, metrics=dict(logs)))
        else:
            if recorder.rank == 0:
                worst = self._row(recorder, state, logs)
            if self._stop_on is not None:
                self._stop(recorder, args, state, control, worst)
        recorder.monitor_seconds += time.perf_counter() - started

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the epoch and finish the run, if no one else owns it."""
        del args, control
        recorder = self._recorder
        if recorder is None:
            return
        self._end_epoch(recorder, state)
        if recorder.rank == 0:
            self._fingerprint_reference(recorder, state)
        recorder.event(TrainEnd(step=state.global_step))
        self.close()

    def close(self) -> None:
        """Stop sampling resources, leave the trainer as it was, and finish the run directory if it is this callback's.

        Called at the end of the training; a second call does nothing.
        """
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return
        if self._capture is not None:
            self._capture.close()
        self._watches.close()
        self._capture = self._trainer = None
        if self._sampler is not None:
            self._sampler.stop()
        if self._given is None:
            recorder.finish("completed" if self.stopped_by is None else "stopped")

    def _open(self, args: Any, state: Any) -> Recorder:
        rank = int(args.process_index)
        if rank == 0 and state.global_step == 0 and (self._path / "run.json").exists():
            raise UsageError(f"{self._path}: holds a recorded run already: choose another folder, or delete it")
        detection = self._settings.table()
        return Recorder(
            self._path, rank=rank, backend="trl", seed=args.seed, steps=state.max_steps, detection=detection
        )

    def _describe(self, recorder: Recorder) -> None:
        """Describe the run, unless the recorder's owner did, and choose the detectors by what it is."""
        if self._given is None and self._trainer is not None and recorder.rank == 0:
            recorder.describe(**describe(self._trainer))
        self._algorithm = algorithm_of(self._trainer)
        config = recorder.info.get("config")
        chosen = self._detectors
        if chosen is None:
            chosen = default_detectors(self._algorithm, config, settings=self._settings)
        self._monitor = Monitor(chosen)

    def _event(self, event: Event) -> None:
        recorder = self._recorder
        if recorder is not None:
            started = time.perf_counter()
            recorder.event(event)
            recorder.monitor_seconds += time.perf_counter() - started

    def _fingerprint_reference(self, recorder: Recorder, state: Any) -> None:
        fingerprint = reference_fingerprint(self._trainer)
        if fingerprint is not None:
            recorder.event(ReferenceFingerprint(step=state.global_step, fingerprint=fingerprint))

    def _start_samples(self, recorder: Recorder, state: Any) -> None:
        if not self._wants_samples:
            return
        if self._trainer is None:
            recorder.event(SamplesUnavailable(step=state.global_step, reason="no trainer calls this callback"))
            return
        try:
            self._capture = capture_for(self._trainer, self._algorithm)
        except (AttributeError, TypeError) as error:
            recorder.event(SamplesUnavailable(step=state.global_step, reason=f"{type(error).__name__}: {error}"))

    def _record_samples(self, state: Any) -> None:
        recorder, capture = self._recorder, self._capture
        if recorder is None or capture is None:
            return
        started = time.perf_counter()
        batch = capture.take(state.global_step)
        recorder.samples(batch.records)
        self._extra.add(batch.metrics)
        if capture.failure is not None:
            recorder.event(SamplesUnavailable(step=state.global_step, reason=capture.failure))
            capture.close()
            self._capture = None
        recorder.monitor_seconds += time.perf_counter() - started

    def _row(self, recorder: Recorder, state: Any, logs: Mapping[str, Any]) -> Anomaly | None:
        """Record one row and return the worst anomaly that it completes."""
        if self._algorithm == "ppo":  # logs before the step ends
            self._record_samples(state)
        epoch = None if state.epoch is None else float(state.epoch)
        index = 0 if epoch is None else math.ceil(epoch - 1e-6)
        if index > self._epoch:
            self._end_epoch(recorder, state)
            self._epoch = index
        row = {**logs, **self._extra.take()}
        row.pop("epoch", None)
        metrics = recorder.row(state.global_step, row, epoch=epoch)
        recorder.event(Log(step=state.global_step))
        return self._detect(recorder, state.global_step, metrics)

    def _detect(self, recorder: Recorder, step: int, metrics: Mapping[str, float | None]) -> Anomaly | None:
        monitor = self._monitor
        if monitor is None:
            return None
        try:
            found = monitor.update(step, metrics)
        except Exception as error:  # noqa: BLE001 - a faulty detector must not cost anybody a training
            recorder.event(MonitorFailed(step=step, error=f"{type(error).__name__}: {error}"))
            self._monitor = None
            return None
        for metric, trend in monitor.changed.items():
            recorder.event(TrendChanged(step=step, metric=metric, trend=trend))
        for anomaly in found:
            self._report(recorder, step, anomaly)
        return max(found, key=lambda anomaly: anomaly.severity, default=None)

    def _report(self, recorder: Recorder, step: int, anomaly: Anomaly) -> None:
        recorder.event(anomaly_found(step, anomaly))
        if self._on_anomaly is not None:
            try:
                self._on_anomaly(anomaly)
            except Exception as error:  # noqa: BLE001 - a broken alert must not cost anybody a training
                recorder.event(AlertFailed(step=step, error=f"{type(error).__name__}: {error}"))

    def _end_epoch(self, recorder: Recorder, state: Any) -> None:
        statistics = {} if self._monitor is None else self._monitor.end_epoch()
        if statistics:
            metrics = {
                name: MetricStatistics(mean=its.mean, std=its.std, min=its.min, max=its.max, trend=its.trend)
                for name, its in statistics.items()
            }
            recorder.event(EpochStatistics(step=state.global_step, epoch=max(self._epoch, 1), metrics=metrics))

    def _stop(self, recorder: Recorder, args: Any, state: Any, control: Any, worst: Anomaly | None) -> None:
        wanted = worst is not None and self._stop_on is not None and worst.severity >= self._stop_on
        if not _any_rank(args, wanted):
            return
        self._stop_step = state.global_step
        self.stopped_by = f"{worst.metric}: {worst.summary}" if worst is not None else "stopped by rank 0"
        recorder.event(Stop(step=state.global_step, reason=self.stopped_by))
        control.should_training_stop = True


class _Means:
    """The means of metrics over the steps since the last row, which need not be every step."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + value, count + 1)

    def take(self) -> dict[str, float]:
        sums, self._sums = self._sums, {}
        return {name: total / count for name, (total, count) in sums.items()}


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
