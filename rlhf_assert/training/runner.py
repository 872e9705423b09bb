"""What runs trainings: the protocol of a runner, and how runners on other machines are found."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

from rlhf_assert.detect.settings import Settings
from rlhf_assert.errors import MissingDependency, RecordingError, suggest
from rlhf_assert.recording.run import Run
from rlhf_assert.training.request import Request

ENTRY_POINT_GROUP = "rlhf_assert.runners"


@runtime_checkable
class Runner(Protocol):
    """Trains what is requested, each request into a run directory of its own. `with` closes it at the end."""

    def warm_up(self, backend: str) -> None:
        """Prepare for trainings with a backend, in the background. Does nothing where nothing can be prepared."""

    def submit(self, request: Request, path: Path) -> None:
        """Begin a training ahead of time, without waiting for it; `run` with the same path returns its run.

        Does nothing in a runner that trains one request at a time.
        """

    def run(self, request: Request, path: Path, *, on_progress: Callable[[], None] = lambda: None) -> Run:
        """Train, and return what was recorded. A training that crashed or hung returns its run as well.

        Args:
            request: what to train.
            path: the run directory to write; it must not hold a run.
            on_progress: called about every 0.1 s while waiting.

        Raises:
            MissingDependency: something that the scenario needs is not installed where it would train.
            RecordingError: the run directory cannot be written.
            UsageError: the scenario names a backend that does not exist.
        """

    def close(self) -> None:
        """End every process of the runner, and with it the trainings that still run."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class RemoteRunner(Protocol):
    """Connects to a place that trains, and returns its runner; an entry point of the group `rlhf_assert.runners`."""

    def __call__(self, address: str, *, python: str = "", settings: Settings | None = None) -> Runner:
        """Connect.

        Args:
            address: where it is, in the words of its kind.
            python: the interpreter there that has rlhf-assert and the trainer.
            settings: what is set about detection.

        Raises:
            RlhfAssertError: it cannot be reached.
        """


def find_remote_runner(kind: str) -> RemoteRunner:
    """Return what connects to a kind of place that trains, such as `ray`.

    Raises:
        MissingDependency: no installed package provides it.
    """
    known = {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}
    if kind not in known:
        installed = ", ".join(sorted(known)) or "none"
        raise MissingDependency(
            f"no installed package trains on {kind}{suggest(kind, known)}; installed: {installed}: "
            "pip install --force-reinstall rlhf-assert"
        )
    remote: RemoteRunner = known[kind].load()
    return remote


def prepare_folder(path: Path) -> None:
    """Create a run directory that can be written.

    Raises:
        RecordingError: it cannot be written, or it holds a run already.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if (path / "run.json").exists():
            raise RecordingError(f"{path}: holds a run already; choose another folder")
        (path / ".writable").touch()
        (path / ".writable").unlink()
    except OSError as error:
        raise RecordingError(f"{path}: cannot be written: {error.strerror}; choose another with --rlhf-out") from error
