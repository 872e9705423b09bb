"""Sampling, in the background, what a training uses."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

import psutil

from rlhf_assert.errors import RecordingError
from rlhf_assert.resources.gpu import GPUs

BRISK = 60
"""Samples at the start that are taken 4 times as often: a training of a second must be judged too."""


class ResourceRecorder(Protocol):
    """Records what a training uses: a `Recorder` or a `LiveRecording`."""

    def resources(self, usage: Mapping[str, Any]) -> None:
        """Record one sample.

        Raises:
            RecordingError: it cannot be written.
        """


class ResourceSampler:
    """Records the resources that this process uses: once at the start, every `interval` seconds, once at the stop.

    The first 60 samples come every quarter of the interval.

    Each sample holds `memory_rss` and `memory_vms` (bytes, this process), `cpu_utilization` (processor time of this
    process since the sample before, as a share of all cores that it may run on: 0 to 1; None in the first sample),
    `cores` (their number), and what `rlhf_assert.resources.gpu.GPUs.usage` says.

    The thread is a daemon and never raises. If the recorder cannot write, the thread ends, and `stop` raises what
    happened; if the machine cannot be asked any more, it ends too, and `failure` says why.
    A forked child inherits a sampler that is not running; it may start one of its own.

    Args:
        recorder: where the samples go.
        interval: seconds between two samples.

    Attributes:
        failure: why nothing is sampled any more, None if nothing failed.
    """

    def __init__(self, recorder: ResourceRecorder, interval: float = 0.2) -> None:
        if not interval > 0:
            raise ValueError(f"interval={interval}, but a sampler needs more than 0 seconds between two samples")
        self.interval = interval
        self.failure: str | None = None
        self._recorder = recorder
        self._owner: int | None = None  # the process that started it
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: RecordingError | None = None

    def start(self) -> None:
        """Take the first sample and start the thread; does nothing if it runs already.

        Raises:
            RecordingError: the first sample cannot be written.
        """
        if self.running:
            return
        self._stop, self._error = threading.Event(), None
        process, gpus = _Process(), GPUs()
        try:
            self._sample(process, gpus)
        except BaseException:
            gpus.close()
            raise
        self._owner = os.getpid()
        self._thread = threading.Thread(
            target=self._run, args=(process, gpus, self._stop), name="rlhf-assert-resources", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Take the last sample and end the thread; does nothing if it does not run, or if another process started it.

        Raises:
            RecordingError: a sample could not be written, here or before in the background.
        """
        thread, self._thread = self._thread, None
        if thread is None or self._owner != os.getpid():
            return
        self._stop.set()
        thread.join()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    @property
    def running(self) -> bool:
        """Whether this process started it and has not stopped it."""
        return self._thread is not None and self._owner == os.getpid()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        except RecordingError:
            if error is None:  # otherwise the error that ends the training is the news
                raise

    def _run(self, process: _Process, gpus: GPUs, stop: threading.Event) -> None:
        try:
            for _ in range(BRISK):
                if stop.wait(self.interval / 4.0):
                    break
                self._sample(process, gpus)
            while not stop.wait(self.interval):
                self._sample(process, gpus)
            self._sample(process, gpus)
        except RecordingError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - psutil or a driver: that is no reason to end a training
            self.failure = f"{type(error).__name__}: {error}"
        finally:
            gpus.close()

    def _sample(self, process: _Process, gpus: GPUs) -> None:
        self._recorder.resources({**process.usage(), **gpus.usage()})


class _Process:
    """Memory and processor time of this process."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before: tuple[float, float] | None = None

    def usage(self) -> dict[str, Any]:
        with self._process.oneshot():
            memory, times = self._process.memory_info(), self._process.cpu_times()
        now, used, cores = time.monotonic(), times.user + times.system, usable_cores()
        share = None
        if self._before is not None and now > self._before[0]:
            share = max(0.0, (used - self._before[1]) / ((now - self._before[0]) * cores))
        self._before = now, used
        return {
            "memory_rss": memory.rss,
            "memory_vms": memory.vms,
            "cpu_utilization": share,
            "cores": cores,
        }


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
