"""What trains a scenario: the backend protocol, and how backends are found."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol

from rlhf_assert.errors import UsageError, suggest
from rlhf_assert.training.faults import Fault
from rlhf_assert.training.scenario import Scenario

if TYPE_CHECKING:
    from rlhf_assert.recording.live_recording import LiveRecording

ENTRY_POINT_GROUP = "rlhf_assert.backends"


class Backend(Protocol):
    """Trains scenarios with one framework; importing its module is cheap, only `warm_up` imports the framework."""

    @property
    def name(self) -> str:
        """The name that scenarios give as `backend`."""

    def missing(self) -> str | None:
        """Return what is not installed, with the command that mends it, or None; imports nothing heavy."""

    def versions(self) -> Mapping[str, str]:
        """Return the versions of what decides a training's numbers; imports nothing heavy."""

    def warm_up(self) -> None:
        """Import the framework, and prepare what every scenario shares. Called once, before the first fork."""

    def train(
        self, scenario: Scenario, recording: LiveRecording, *, seed: int, steps: int, fault: Fault | None = None
    ) -> None:
        """Build the scenario's trainer, train it, and tell `recording` what happens.

        It runs in the process that trains. It calls `recording.begin()`, `recording.row(...)` for each step that it
        logs, and `recording.end()`; whoever called it finishes the recording. `docs/write-a-backend.md` shows one.

        Returning means that the training ran to its end. `rlhf_assert.errors.TrainingStopped` means that it was stopped
        on purpose, `UsageError` that the scenario or the fault is impossible, and any other exception is a crash.

        Args:
            scenario: what to train.
            recording: what to tell.
            seed: seeds weights, data and sampling.
            steps: optimizer steps to train.
            fault: what to break on purpose. A backend that injects no faults may leave it out of its signature; one
                that injects some names their kinds in an attribute `faults`.
        """


def backends() -> dict[str, Backend]:
    """Return every installed backend by name (entry point group `rlhf_assert.backends`)."""
    return {entry.name: entry.load() for entry in entry_points(group=ENTRY_POINT_GROUP)}


def find_backend(name: str) -> Backend:
    """Return a backend by name.

    Raises:
        UsageError: no installed package provides it.
    """
    entries = {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in entries:
        raise UsageError(
            f"unknown backend {name}{suggest(name, entries)}; known: {', '.join(sorted(entries)) or 'none'}"
        )
    backend: Backend = entries[name].load()
    return backend
