"""Trains and judges a plan with several workers, each with its own warm children; what is there already is reused."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import orjson

from rlhf_assert import __version__
from rlhf_assert.detect import DetectorSpec
from rlhf_assert.detect.detector_registry import added_detectors
from rlhf_assert.detect.settings import Settings
from rlhf_assert.errors import UsageError
from rlhf_assert.recording.run import Run, read_run
from rlhf_assert.resources.sampler import usable_cores
from rlhf_assert.training.backend import find_backend
from rlhf_assert.training.device_lock import one_training_per_device
from rlhf_assert.training.local_runner import LocalRunner
from rlhf_assert.training.request import Request
from rlhf_assert.training.runner import Runner
from rlhf_assert.validation.score import Judged, judge_training, with_settings


class Trainings:
    """The trainings of a validation, from the moment on that the `with` block is entered.

    The device is held as long as the block lasts; the workers share it, so timings are those of a busy machine.

    Attributes:
        results: by training, the future of what was told about it. A fault that the backend cannot inject into the
            scenario raises `UsageError` with the reason.

    Args:
        plan: what to train.
        folder: holds a run directory each; one that is there, finished and of the same versions is judged as it is.
        workers: trainings at once, each on one thread; one for each core that may be used, if None.
        contenders: detectors to compare with ours; they judge by themselves, and have no part in our verdict.
        settings: what is set about detection.
        keep: leave the run directories there.
        ablation: judge each training also without each detector that told something.
        on_wait: called while another training holds the device.
    """

    def __init__(
        self,
        plan: Sequence[Request],
        folder: Path,
        *,
        workers: int | None = None,
        contenders: Mapping[str, DetectorSpec],
        settings: Settings,
        keep: bool = True,
        ablation: bool = False,
        on_wait: Callable[[], None] = lambda: None,
    ) -> None:
        self.results: dict[Request, Future[Judged]] = {}
        self._plan = plan
        self._folder = folder
        self._contenders = {
            name: spec for name, spec in contenders.items() if settings.detectors.get(name) is not False
        }
        self._thresholds = {name: settings.threshold(name) for name in contenders}
        apart = dict.fromkeys(contenders.keys() & added_detectors().keys(), False)
        self._settings = replace(settings, detectors={**settings.detectors, **apart})
        self._keep = keep
        self._ablation = ablation
        self._on_wait = on_wait
        self._workers = ThreadPoolExecutor(workers or usable_cores(), thread_name_prefix="rlhf-validation")
        self._own = threading.local()
        self._runners: list[Runner] = []
        self._stopped = threading.Event()
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._held.enter_context(one_training_per_device(self._on_wait))
        self.results = {training: self._workers.submit(self._judged, training) for training in self._plan}
        return self

    @property
    def done(self) -> int:
        """How many trainings have ended."""
        return sum(result.done() for result in self.results.values())

    def wait(self, result: Future[Judged], timeout: float = 0.2) -> None:
        """Wait for one result, for at most so many seconds."""
        wait([result], timeout=timeout)

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._workers.shutdown(cancel_futures=True)
        for runner in self._runners:
            runner.close()
        self._held.close()

    def _judged(self, training: Request) -> Judged:
        path = self._folder / training.key
        run = self._recorded(training, path)
        if run.error and run.error["type"] == "UsageError":
            raise UsageError(run.error["message"])
        judged = judge_training(
            training,
            with_settings(run, self._settings),
            self._contenders,
            thresholds=self._thresholds,
            ablation=self._ablation,
        )
        if not self._keep:
            shutil.rmtree(path, ignore_errors=True)
        return replace(judged, run=replace(judged.run))  # a copy, without the samples that judging has read

    def _recorded(self, training: Request, path: Path) -> Run:
        if finished(path, training):
            return read_run(path)
        shutil.rmtree(path, ignore_errors=True)
        return self._runner().run(training, path, on_progress=self._go_on)

    def _runner(self) -> Runner:
        if not hasattr(self._own, "runner"):
            self._own.runner = LocalRunner(settings=self._settings, hold_device=False)
            self._runners.append(self._own.runner)
        runner: Runner = self._own.runner
        return runner

    def _go_on(self) -> None:
        """When the validation ends, leave a training that still runs unfinished: the next validation repeats it."""
        if self._stopped.is_set():
            raise CancelledError


def finished(path: Path, training: Request) -> bool:
    """Return whether a run directory holds this training, ended in whatever way, with the versions of today."""
    try:
        info: dict[str, Any] = orjson.loads((path / "run.json").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return False
    versions: Mapping[str, str] = info.get("versions") or {}
    today = {"rlhf-assert": __version__, **find_backend(training.scenario.backend).versions()}
    return info.get("status") != "running" and all(versions.get(name) == value for name, value in today.items())


def describe_machine(plan: Iterable[Request]) -> str:
    """Return the versions and the cores that decide numbers and times."""
    backends = dict.fromkeys(training.scenario.backend for training in plan)
    versions = {name: text for backend in backends for name, text in find_backend(backend).versions().items()}
    shown = [f"{name} {versions[name]}" for name in (*backends, "torch", "transformers") if name in versions]
    return ", ".join([f"rlhf-assert {__version__}", *shown, f"{usable_cores()} cores"])
