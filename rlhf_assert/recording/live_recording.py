"""One training while it goes on: the object to which a backend, or anybody's own loop, tells what happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from rlhf_assert.detect.anomaly import Anomaly, Detector
from rlhf_assert.errors import RecordingError, TrainingStopped
from rlhf_assert.recording.crash import describe_crash, name_error
from rlhf_assert.recording.events import Event, HookFailed, Log, RecordingFailed, Stop, TrainBegin, TrainEnd
from rlhf_assert.recording.live_detection import LiveDetection, StopOn
from rlhf_assert.recording.recorder import Metrics, Recorder, RunStatus
from rlhf_assert.resources.sampler import ResourceSampler

P = ParamSpec("P")
T = TypeVar("T")


class LiveRecording:
    """Records one training while it goes on, looks for anomalies in it, and says when to stop it.

    A training tells `begin`, then a `row` for each step that it logs, then `end`. In between it may tell `samples`,
    `event` and `resources`. Whoever made this object calls `finish`; in a `with` statement that comes by itself:

        with LiveRecording(Recorder(Path("runs/mine")), stop_on="critical") as recording:
            recording.begin()
            for step in range(1, steps + 1):
                if anomaly := recording.row(step, train_one_step()):
                    recording.stop(step, anomaly)
                    break
            recording.end(step)

    Nothing that a detector, an alert or a hook raises reaches the training: it becomes an event that names it. Only a
    run directory that cannot be written ends the training (`RecordingError`).

    In a training of several processes each has a recording of its own. Rank 0 records and detects; the others record
    their resources.

    Args:
        recorder: writes the run directory.
        stop_on: the severity from which `row` returns an anomaly, None for never.
        on_anomaly: called with each anomaly when it is detected. If it raises, that is an event `alert_failed`, and it
            is called with the next one all the same.
        detectors: fresh detectors in place of the default ones, which are chosen at the first row: by then `describe`
            or `learn` should have told the algorithm and its configuration.

    Attributes:
        stopped_by: why the training was told to stop, None if it was not.

    Raises:
        UsageError: `stop_on` is no severity to stop at.
        UnreadableRun: the recorder's detection settings are of a version that this one does not know.
    """

    def __init__(
        self,
        recorder: Recorder,
        *,
        stop_on: StopOn | None = None,
        on_anomaly: Callable[[Anomaly], object] | None = None,
        detectors: Iterable[Detector] | None = None,
    ) -> None:
        self.stopped_by: str | None = None
        self._recorder = recorder
        self._detection = LiveDetection(
            recorder.info, self.event, stop_on=stop_on, on_anomaly=on_anomaly, detectors=detectors
        )
        self._between = Means()
        self._sampler: ResourceSampler | None = None
        self._stopwatch = Stopwatch()
        self._switched_off: set[str] = set()
        self._step: int | None = None
        self._finished = False

    @property
    def path(self) -> Path:
        """The run directory."""
        return self._recorder.path

    @property
    def rank(self) -> int:
        """The rank of this process."""
        return self._recorder.rank

    @property
    def info(self) -> Mapping[str, Any]:
        """What `run.json` says of the training so far."""
        return self._recorder.info

    @property
    def may_stop(self) -> bool:
        """Whether `row` may ever ask to stop the training."""
        return self._detection.stop_on is not None

    def describe(self, **info: Any) -> None:
        """Add or replace fields of `run.json`."""
        self._write(self._recorder.describe, **info)

    def learn(self, **info: Any) -> None:
        """Add those fields to `run.json` that nobody described before."""
        new = {name: value for name, value in info.items() if name not in self._recorder.info}
        if new:
            self.describe(**new)

    def begin(self, step: int = 0, *, sample_resources: bool = True) -> None:
        """Say that the training loop begins.

        Args:
            step: the steps that were made before, in a training that goes on from a checkpoint.
            sample_resources: whether to sample, in the background, what this process uses.
        """
        with self.timed():
            if sample_resources:
                self._sampler = ResourceSampler(self)
                self.guard("resources", self._sampler.start)
            self.event(TrainBegin(step=step))

    def row(self, step: int, logged: Mapping[str, Any], *, epoch: float | None = None) -> Anomaly | None:
        """Record what a step logged, and look for anomalies in it.

        Args:
            step: the optimizer step, from 1 on.
            logged: the framework's own names and values.
            epoch: how many epochs are over, where the framework counts them, for example 0.5.

        Returns:
            The worst anomaly that the row completes, if `stop_on` says to stop at it: see `stop`. Else None.
        """
        if self._recorder.rank != 0:
            return None
        with self._stopwatch:
            if epoch is not None:
                self._detection.turn(step, epoch)
            self._step = step
            if added := self._between.take():
                logged = {**logged, **added}
            metrics = self._write(self._row, step, logged, epoch)
            return None if metrics is None else self._detection.look(step, metrics)

    def samples(self, records: Iterable[Mapping[str, Any]], metrics: Mapping[str, float] | None = None) -> None:
        """Record samples; the fields of each are those of `rlhf_assert.recording.run.Samples`.

        Args:
            records: one mapping per sample.
            metrics: what the samples add to the next row: there stands the mean over the calls since the row before.
        """
        with self._stopwatch:
            self._write(self._recorder.samples, records)
            if metrics:
                self._write(self._between.add, metrics)

    def event(self, event: Event | str, step: int | None = None, **fields: Any) -> None:
        """Record an event: one of `rlhf_assert.recording.events`, which are judged, or one of your own by its name."""
        with self._stopwatch:
            self._write(self._recorder.event, event, step, **fields)

    def resources(self, usage: Mapping[str, Any]) -> None:
        """Record one sample of what the training uses; its fields are those of `ResourceSampler`.

        For a training in other processes than this one; `begin` samples this one.
        """
        self._write(self._recorder.resources, usage)

    def stop(self, step: int, cause: Anomaly | str) -> None:
        """Record that the training stops before its end because of an anomaly. Ending the loop is up to the caller."""
        self.stopped_by = cause if isinstance(cause, str) else f"{cause.metric}: {cause.summary}"
        self.event(Stop(step=step, reason=self.stopped_by))

    def end_epoch(self, step: int) -> None:
        """Record the statistics of the epoch's rows; `row` calls it where the next epoch begins."""
        with self._stopwatch:
            self._detection.end_epoch(step)

    def end(self, step: int | None = None) -> None:
        """Say that the training loop has ended by itself, after a step."""
        with self._stopwatch:
            step = self._step if step is None else step
            if self._detection.epoch and step is not None:
                self.end_epoch(step)
            self.event(TrainEnd(step=step))
            self.close()

    def close(self) -> None:
        """Stop sampling resources, and leave what was measured with the recorder; may be called more than once.

        Raises:
            RecordingError: a sample could not be written.
        """
        sampler, self._sampler = self._sampler, None
        try:
            if sampler is not None:
                with self._stopwatch:
                    sampler.stop()
                    if sampler.failure is not None:
                        self.event(HookFailed(step=self._step, hook="resources", error=sampler.failure))
        finally:
            self._recorder.monitor_seconds += self._stopwatch.seconds
            self._stopwatch.seconds = 0.0

    def finish(
        self, status: RunStatus | None = None, error: BaseException | Mapping[str, str] | None = None
    ) -> RunStatus:
        """Record how the run ended, and close its files; a second call does nothing.

        Args:
            status: by default `stopped` after `stop`, `crashed` with an error, else `completed`.
            error: what ended the training.

        Returns:
            The status.
        """
        if self._finished:
            return self._recorder.info["status"]  # type: ignore[no-any-return]
        self._finished = True
        if isinstance(error, BaseException):
            error = describe_crash(error)
        if status is None:
            status = "crashed" if error else "completed" if self.stopped_by is None else "stopped"
        try:
            self.close()
        except RecordingError:
            if error is None:  # otherwise the error that ended the training is the news
                raise
        finally:
            self._write(self._recorder.finish, status, error)
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, TrainingStopped):
            self.finish("stopped")
            return
        try:
            self.finish(error=error)
        except RecordingError:
            if error is None:  # otherwise the error that ends the training is the news
                raise

    def timed(self) -> Stopwatch:
        """Return a context in which time counts as ours (`monitor_seconds` of `run.json`) and not the training's."""
        return self._stopwatch

    def add_seconds(self, seconds: float) -> None:
        """Count time as ours that was spent elsewhere, for example by hooks in other processes."""
        self._stopwatch.seconds += seconds

    def guard(self, hook: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Call a hook into somebody else's training such that nothing it raises can cost the training.

        Args:
            hook: the name of the hook. An exception becomes an event `hook_failed` with it, and from then on a hook of
                this name is not called any more.
            call: what to call.
            args: its arguments.
            kwargs: its keyword arguments.

        Returns:
            What the call returned; None if it raised, now or at an earlier call.
        """
        if hook in self._switched_off:
            return None
        with self._stopwatch:
            try:
                return call(*args, **kwargs)
            except (RecordingError, TrainingStopped):
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not cost anybody a training
                self._switched_off.add(hook)
                self.event(HookFailed(step=self._step, hook=hook, error=name_error(error)))
                return None

    def _row(self, step: int, logged: Mapping[str, Any], epoch: float | None) -> Metrics:
        metrics = self._recorder.row(step, logged, epoch=epoch)
        self._recorder.event(Log(step=step))
        return metrics

    def attempt(self, what: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Call what may fail for one input and not for the next, such as a parser of what a framework tells.

        Unlike `guard`, it calls again after a failure; each is an event `recording_failed` that begins with `what`.

        Returns:
            What the call returned; None if it raised.
        """
        with self._stopwatch:
            try:
                return call(*args, **kwargs)
            except (RecordingError, TrainingStopped):
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not cost anybody a training
                self.event(RecordingFailed(step=self._step, reason=f"{what}: {name_error(error)}"))
                return None

    def _write(self, write: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Write something into the run directory; return None if it is of a kind that cannot be written.

        Every write passes here. This is the one place that decides what a run directory means that cannot be written
        any further (no space, no folder): the training ends by the `RecordingError`.
        """
        try:
            return write(*args, **kwargs)
        except RecordingError:
            raise
        except Exception as error:  # noqa: BLE001 - a value that nobody can write must not cost anybody a training
            reason = f"{write.__name__.lstrip('_')}: {name_error(error)}"
            self._recorder.event(RecordingFailed(step=self._step, reason=reason))
            return None


class Stopwatch:
    """Adds up the seconds that are spent in `with stopwatch:`; one block within another counts once.

    Attributes:
        seconds: the sum.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0
        self._started = 0.0

    def __enter__(self) -> Self:
        if self._depth == 0:
            self._started = time.perf_counter()
        self._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.seconds += time.perf_counter() - self._started


class Means:
    """The mean of each metric over the times that it was added, which need not be as many for all."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, metrics: Mapping[str, float]) -> None:
        """Add one value of each metric."""
        for name, value in metrics.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + value, count + 1)

    def take(self) -> dict[str, float]:
        """Return the means, and begin anew."""
        if not self._sums:
            return {}
        sums, self._sums = self._sums, {}
        return {name: total / count for name, (total, count) in sums.items()}
