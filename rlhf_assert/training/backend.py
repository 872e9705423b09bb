"""What trains a scenario: the backend protocol, and how backends are found."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Protocol

from rlhf_assert.errors import UsageError, suggest
from rlhf_assert.recording.recorder import Recorder
from rlhf_assert.training.faults import Fault
from rlhf_assert.training.scenario import Scenario

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
        self, scenario: Scenario, recorder: Recorder, *, seed: int, steps: int, fault: Fault | None = None
    ) -> None:
        """Build the scenario's trainer and train it, recording into `recorder`.

        Called in the process that trains. A backend that injects no faults may leave `fault` out of its signature; one
        that injects only some has them in an attribute `faults`, the names of their kinds.
        Returning means that the training ran to its end; `rlhf_assert.errors.TrainingStopped` that a monitor stopped
        it; `UsageError` that the scenario, or the fault that was asked for, cannot be; any other exception is a crash.
        """


def backends() -> dict[str, Backend]:
    """Return every installed backend by name (entry point group `rlhf_assert.backends`)."""
    return {entry.name: entry.load() for entry in entry_points(group=ENTRY_POINT_GROUP)}


def find_backend(name: str) -> Backend:
    """Return a backend by name.

    Raises:
        UsageError: no installed package provides it.
    """
    found = {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in found:
        raise UsageError(f"unknown backend {name}{suggest(name, found)}; known: {', '.join(sorted(found)) or 'none'}")
    backend: Backend = found[name].load()
    return backend
