"""Runs scenarios: in a warm child process that forks for each one, or in this process for a debugger.

Importing a training framework takes several times as long as a tiny scenario, so one child per backend imports it
once (`rlhf_assert.training.child`) and forks for every training. However a training ends (its end, an exception, a
hang, a SIGKILL), what it recorded is on disk and `read_run` gives it with the right status.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import orjson
from filelock import FileLock

from rlhf_assert.detect.settings import Settings
from rlhf_assert.errors import MissingDependency, RecordingError, RlhfAssertError, UsageError
from rlhf_assert.recording.encoding import encode
from rlhf_assert.recording.files import write_json
from rlhf_assert.recording.recorder import FORMAT
from rlhf_assert.recording.run import Run, read_info, read_run
from rlhf_assert.training.backend import find_backend
from rlhf_assert.training.faults import Fault
from rlhf_assert.training.scenario import Scenario
from rlhf_assert.training.train import train_here

POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Job:
    """One training that a warm child is asked for; it crosses the process boundary as JSON."""

    file: str
    scenario: str
    seed: int
    steps: int
    path: str
    time_limit: float
    sys_path: tuple[str, ...]
    folder: str
    detection: Mapping[str, Any]
    fault: Fault | None = None


class WarmChild:
    """A process that has imported one backend and forks for each training.

    Raises:
        MissingDependency: the backend's packages are not installed.
        RlhfAssertError: the child ended while importing them; the message ends with its last line.
    """

    def __init__(self, backend: str) -> None:
        missing = find_backend(backend).missing()
        if missing:
            raise MissingDependency(missing)
        self.backend = backend
        self._errors = tempfile.NamedTemporaryFile(prefix="rlhf-assert-child-", suffix=".log")  # noqa: SIM115
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "rlhf_assert.training.child", backend],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,  # ^C reaches this process alone, which then ends the child in order
            env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        )
        self._unread = b""
        self._ready = False

    def run(self, job: Job, on_progress: Callable[[], None]) -> dict[str, Any]:
        """Train, and return how the training process ended: `exit`, `signal` and `timeout`.

        Args:
            job: what to train.
            on_progress: called about every 0.1 s while waiting.
        """
        if not self._ready:
            self._receive(on_progress)
            self._ready = True
        self._send(asdict(job))
        return self._receive(on_progress)

    def close(self) -> None:
        """End the child, and with it a training that still runs."""
        with contextlib.suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._errors.close()

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(orjson.dumps(message) + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._died() from error

    def _receive(self, on_progress: Callable[[], None]) -> dict[str, Any]:
        assert self._process.stdout
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._unread:
            if select.select([descriptor], [], [], POLL_SECONDS)[0]:
                received = os.read(descriptor, 65536)
                if not received:
                    raise self._died()
                self._unread += received
            else:
                on_progress()
        line, _, self._unread = self._unread.partition(b"\n")
        message: dict[str, Any] = orjson.loads(line)
        return message

    def _died(self) -> RlhfAssertError:
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        return RlhfAssertError(
            f"the {self.backend} process ended ({describe_exit(code)}): {said[-1] if said else 'it said nothing'}"
        )


class Runner:
    """Runs scenarios one at a time, each recorded into a run directory of its own.

    Args:
        in_process: train in this process, where a debugger sees it; a crash or hang is then this process's own.
        settings: what is set about detection; every run keeps it in its run.json.
        hold_device: wait for this device and hold it for each training; False where several runners share the hold of
            their caller, who cares less for timings than for time.
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

    def run(
        self,
        scenario: Scenario,
        path: Path,
        *,
        seed: int = 0,
        steps: int | None = None,
        fault: Fault | None = None,
        on_progress: Callable[[], None] = lambda: None,
    ) -> Run:
        """Train a scenario and return what it recorded.

        Args:
            scenario: what to train.
            path: the run directory to write; it must not hold a run.
            seed: seeds weights, data and sampling.
            steps: in place of the scenario's own.
            fault: what to break on purpose.
            on_progress: called about every 0.1 s while a child trains.

        Raises:
            MissingDependency: the backend's packages are not installed.
            RecordingError: the run directory cannot be written.
            UsageError: the fault's onset is beyond the last step.
        """
        steps = scenario.steps if steps is None else steps
        if fault is not None and fault.onset > steps:
            raise UsageError(
                f"fault {fault}: its onset is step {fault.onset}, but {scenario.name} trains {steps} steps"
            )
        prepare_folder(path)
        with one_training_per_device(on_progress) if self._hold_device else contextlib.nullcontext():
            if self._in_process:
                missing = find_backend(scenario.backend).missing()
                if missing:
                    raise MissingDependency(missing)
                train_here(scenario, path, seed=seed, steps=steps, settings=self._settings, fault=fault)
                return read_run(path)
            child = self._child(scenario.backend)
            job = Job(
                file=str(scenario.file.resolve()),
                scenario=scenario.name,
                seed=seed,
                steps=steps,
                path=str(path.resolve()),
                time_limit=scenario.time_limit,
                sys_path=tuple(sys.path),
                folder=str(Path.cwd()),
                detection=encode(self._settings.table()),
                fault=fault,
            )
            try:
                ended = child.run(job, on_progress)
            except RlhfAssertError as error:
                self._children.pop(scenario.backend).close()
                ended = {"exit": None, "signal": None, "timeout": False, "message": str(error)}
        return conclude(path, ended, scenario)

    def close(self) -> None:
        """End every child process."""
        while self._children:
            self._children.popitem()[1].close()

    def _child(self, backend: str) -> WarmChild:
        if backend not in self._children:
            self._children[backend] = WarmChild(backend)
        return self._children[backend]


def prepare_folder(path: Path) -> None:
    """Create a run directory that can be written.

    Raises:
        RecordingError: it cannot be, or it holds a run already.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if (path / "run.json").exists():
            raise RecordingError(f"{path}: holds a run already; choose another folder")
        (path / ".writable").touch()
        (path / ".writable").unlink()
    except OSError as error:
        raise RecordingError(f"{path}: cannot be written: {error.strerror}; choose another with --rlhf-out") from error


@contextlib.contextmanager
def one_training_per_device(on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock of this device: two trainings at once would disturb each other's timings and memory."""
    device = os.environ.get("CUDA_VISIBLE_DEVICES", "all").replace(",", "-") or "none"
    lock = FileLock(Path(tempfile.gettempdir()) / f"rlhf-assert-{os.getuid()}-{device}.lock")
    while True:
        try:
            lock.acquire(timeout=POLL_SECONDS)
            break
        except TimeoutError:
            on_wait()
    try:
        yield
    finally:
        lock.release()


def conclude(path: Path, ended: Mapping[str, Any], scenario: Scenario) -> Run:
    """Read a run whose process has ended, and write down how, where the process could not do so itself."""
    file = path / "run.json"
    unstarted = {"format": FORMAT, "id": path.name, "scenario": scenario.name, "backend": scenario.backend}
    info: dict[str, Any] = read_info(path) if file.exists() else unstarted
    said = info.get("error") or {}
    if info.get("status", "running") == "running" or said.get("type") == "ProcessDied":
        info.setdefault("started", time.time())
        info["status"] = "timeout" if ended.get("timeout") else "crashed"
        info["error"] = unspoken_end(path, ended, scenario)
        info["finished"] = time.time()
        with contextlib.suppress(RecordingError):  # on a full disk the run is judged all the same
            write_json(file, info)
    run = read_run(path)
    return replace(run, info=info)


def unspoken_end(path: Path, ended: Mapping[str, Any], scenario: Scenario) -> dict[str, str]:
    """Return the error of a training that could not write it: killed, hung, or died while starting."""
    tail = last_output(path / "output.log")
    if ended.get("timeout"):
        limit = f"{scenario.time_limit:g} s"
        return {"type": "Timeout", "message": f"no end after {limit}, the scenario's time_limit", "traceback": tail}
    if ended.get("message"):
        return {"type": "ProcessDied", "message": str(ended["message"]), "traceback": tail}
    code = -int(ended["signal"]) if ended.get("signal") else int(ended.get("exit") or 0)
    return {"type": "ProcessDied", "message": f"the training process ended: {describe_exit(code)}", "traceback": tail}


def last_output(file: Path, lines: int = 60) -> str:
    """Return the last lines that a training printed, faulthandler's stacks among them."""
    try:
        printed = file.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    # After its stacks faulthandler lists every extension module, in a line of kilobytes.
    return "\n".join([line for line in printed if not line.startswith("Extension modules:")][-lines:])


def describe_exit(code: int) -> str:
    """Return `killed by SIGKILL (signal 9)` or `exit status 3` for a process's return code."""
    if code >= 0:
        return f"exit status {code}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-code).name} (signal {-code})"
    return f"killed by signal {-code}"
