"""Trains on this machine: in a warm child process that forks for each training, or in this process for a debugger.

However a training ends (at its last step, by an exception, a hang or a SIGKILL), what it recorded is on disk, and
`read_run` returns it with the right status.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Self

from rlhf_assert.detect.settings import Settings
from rlhf_assert.errors import RlhfAssertError
from rlhf_assert.recording.run import Run, read_run
from rlhf_assert.training.backend import find_backend
from rlhf_assert.training.device_lock import one_training_per_device
from rlhf_assert.training.ending import conclude
from rlhf_assert.training.locator import ensure_available
from rlhf_assert.training.request import Request
from rlhf_assert.training.runner import prepare_folder
from rlhf_assert.training.train import train_here
from rlhf_assert.training.warm_child import WarmChild


class LocalRunner:
    """Trains one request at a time on this machine; see the protocol `rlhf_assert.training.runner.Runner`.

    Args:
        in_process: train in this process, where a debugger sees it; a crash or a hang is then this process's own.
        settings: what is set about detection; every run keeps it in its `run.json`.
        hold_device: wait for this device, and hold it during each training. A caller with several runners that share
            the device holds it for them, and passes False.
    """

    def __init__(self, *, in_process: bool = False, settings: Settings | None = None, hold_device: bool = True) -> None:
        self._in_process = in_process
        self._settings = settings or Settings()
        self._hold_device = hold_device
        self._children: dict[str, WarmChild] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def warm_up(self, backend: str) -> None:
        """Start importing a backend in the background, so that the first training need not wait for it."""
        if not self._in_process and backend not in self._children and find_backend(backend).missing() is None:
            self._children[backend] = WarmChild(backend)

    def submit(self, request: Request, path: Path) -> None:
        """Do nothing: this runner trains one request at a time, when `run` asks for it."""

    def run(self, request: Request, path: Path, *, on_progress: Callable[[], None] = lambda: None) -> Run:
        """Train, and return what was recorded; see `Runner.run`."""
        scenario = request.scenario
        ensure_available(scenario)
        prepare_folder(path)
        with one_training_per_device(on_progress) if self._hold_device else contextlib.nullcontext():
            if self._in_process:
                train_here(
                    scenario,
                    path,
                    seed=request.seed,
                    steps=request.steps,
                    settings=self._settings,
                    fault=request.fault,
                )
                return read_run(path)
            self.warm_up(scenario.backend)
            try:
                ended = self._children[scenario.backend].run(request, path, self._settings, on_progress)
            except RlhfAssertError as error:
                self._children.pop(scenario.backend).close()
                ended = {"exit": None, "signal": None, "timeout": False, "message": str(error)}
        return conclude(path, ended, scenario)

    def close(self) -> None:
        """End every child process, and with it a training that still runs."""
        while self._children:
            self._children.popitem()[1].close()
