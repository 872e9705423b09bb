"""Trains what the session's tests ask for: each scenario, seed and number of steps once, also under xdist."""

from __future__ import annotations

import contextlib
import importlib
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest  # noqa: TID253 - this is a pytest plugin
from filelock import FileLock

from pytest_rlhf_assert import SESSION_PLUGIN
from pytest_rlhf_assert.selection import detection
from pytest_rlhf_assert.session_name import session_name
from rlhf_assert.errors import MissingDependency, RlhfAssertError
from rlhf_assert.recording.run import Run, read_run
from rlhf_assert.training.local_runner import LocalRunner
from rlhf_assert.training.locator import by_name, ensure_available
from rlhf_assert.training.request import Request
from rlhf_assert.training.runner import Runner, find_remote_runner


class TrainingSession:
    """The trainings of one pytest process.

    Attributes:
        runner: trains.
        ahead: what the runner may begin before a test asks for it.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.runner = runner_for(config)
        self.ahead: list[Request] = []
        self._folder: Path | None = None
        self._preparing = False

    def folder(self, temporary: pytest.TempPathFactory) -> Path:
        """Return the folder of the session's run directories; it is not there yet.

        Args:
            temporary: where runs go without `--rlhf-out`.
        """
        if self._folder is None:
            out = self.config.getoption("rlhf_out") or self.config.getini("rlhf_out")
            worker = hasattr(self.config, "workerinput")
            base = temporary.getbasetemp()
            parent = Path(out) if out else (base.parent if worker else base) / "rlhf"
            self._folder = parent / session_name(self.config)
        return self._folder

    def run(self, request: Request, folder: Path) -> Run:
        """Return the run of a request; whichever process asks first trains it, the others wait for it and read it."""
        path = folder / request.key
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RlhfAssertError(
                f"{folder}: cannot be created: {error.strerror}; choose another folder with --rlhf-out"
            ) from error
        with FileLock(folder / f"{request.key}.lock"):
            if (path / "run.json").exists():
                return read_run(path)
            self._prepare_to_judge()
            self._submit(folder)
            show = progress(self.config, request, path)
            try:
                return self.runner.run(request, path, on_progress=show)
            finally:
                show(last=True)

    def _submit(self, folder: Path) -> None:
        ahead, self.ahead = self.ahead, []
        for request in ahead:
            self.runner.submit(request, folder / request.key)

    def _prepare_to_judge(self) -> None:
        """Import what judging needs while the first training runs: seconds that would otherwise come after it."""
        if not self._preparing:
            self._preparing = True
            threading.Thread(target=import_judges, daemon=True).start()


def runner_for(config: pytest.Config) -> Runner:
    """Return what trains: this machine, or with `--rlhf-ray` a cluster.

    Raises:
        pytest.UsageError: the cluster cannot be reached, or `--rlhf-in-process` is given as well.
    """
    address = config.getoption("rlhf_ray")
    if not address:
        return LocalRunner(
            in_process=config.getoption("rlhf_in_process"),
            settings=detection(config),
            hold_device=config.getoption("rlhf_lock") == "device",
        )
    if config.getoption("rlhf_in_process"):
        raise pytest.UsageError("--rlhf-ray and --rlhf-in-process: train on the cluster, or in this process")
    python = config.getoption("rlhf_ray_python") or config.getini("rlhf_ray_python")
    try:
        return find_remote_runner("ray")(address, python=python, settings=detection(config))
    except RlhfAssertError as error:
        raise pytest.UsageError(str(error)) from error


def import_judges() -> None:
    """Import the checks and the report, and torch, with which optimizer states are read, where it is installed."""
    for module in ("rlhf_assert.verdict", "rlhf_assert.report.summary", "torch"):
        with contextlib.suppress(Exception):  # whoever needs it meets the error itself
            importlib.import_module(module)


def begin(config: pytest.Config, items: Iterable[pytest.Item]) -> None:
    """Register the training session, and start importing the backends that the items need.

    Raises:
        pytest.UsageError: two different scenarios of the session share a name, or the pyproject.toml sets what cannot
            be right.
    """
    if not config.pluginmanager.has_plugin(SESSION_PLUGIN):
        config.pluginmanager.register(TrainingSession(config), SESSION_PLUGIN)
    params = [getattr(getattr(item, "callspec", None), "params", {}) for item in items]
    asked = [request for each in params if isinstance(request := each.get("rlhf_run"), Request)]
    try:
        by_name(request.scenario for request in asked)
    except RlhfAssertError as error:
        raise pytest.UsageError(str(error)) from error
    requests = list({request.key: request for request in asked}.values())
    if not hasattr(config, "workerinput"):  # each worker of xdist would ask for all of them
        current(config).ahead = requests
    needed = {request.scenario.backend for request in requests if request.scenario.unmet() is None}
    for backend in needed:
        # The test that needs a backend tells what is wrong with it.
        with contextlib.suppress(RlhfAssertError):
            current(config).runner.warm_up(backend)


def current(config: pytest.Config) -> TrainingSession:
    """Return the training session of this process."""
    session = config.pluginmanager.get_plugin(SESSION_PLUGIN)
    assert isinstance(session, TrainingSession)
    return session


def end(config: pytest.Config) -> None:
    """End the child processes."""
    current(config).runner.close()


def recorded_run(fixture: pytest.FixtureRequest) -> Run:
    """Train for `rlhf_run`, or skip with the reason why it cannot be trained here."""
    request: Request | None = getattr(fixture, "param", None)
    if request is None:
        pytest.fail(
            "rlhf_run needs to know what to train: mark the test with @pytest.mark.rlhf_scenario('trl-grpo'), or give "
            "--rlhf-scenario=NAME",
            pytrace=False,
        )
    session = current(fixture.config)
    try:
        if isinstance(session.runner, LocalRunner):  # a node of a cluster tells itself what it lacks
            ensure_available(request.scenario)
        run = session.run(request, session.folder(fixture.getfixturevalue("tmp_path_factory")))
    except MissingDependency as error:
        pytest.skip(str(error))
    except RlhfAssertError as error:
        pytest.fail(str(error), pytrace=False)
    if run.error and run.error["type"] == "UsageError":  # the scenario is wrong, not the training
        pytest.fail(run.error["message"], pytrace=False)
    return run


def progress(config: pytest.Config, request: Request, path: Path) -> Callable[..., None]:
    """Return a function that shows, on a terminal only, how far a training is; `last=True` clears the line."""
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    if not getattr(reporter, "isatty", False):
        return lambda **_: None
    writer = config.get_terminal_writer()
    capture: Any = config.pluginmanager.get_plugin("capturemanager")
    began = time.monotonic()
    shown = 0.0

    def show(*, last: bool = False) -> None:
        nonlocal shown
        if not last and time.monotonic() - shown < 0.2:
            return
        shown = time.monotonic()
        from rlhf_assert.report.live import progress_line

        text = "" if last else progress_line(path, request.scenario.name, request.steps, shown - began)
        with capture.global_and_fixture_disabled():
            writer.write("\r\x1b[K" + text[: writer.fullwidth - 1], flush=True)

    return show
