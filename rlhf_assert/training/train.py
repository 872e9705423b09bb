"""One training in this process, recorded to its end whatever the end is."""

from __future__ import annotations

import inspect
import platform
from pathlib import Path

from rlhf_assert import __version__
from rlhf_assert.detect.settings import Settings
from rlhf_assert.errors import TrainingStopped, UsageError
from rlhf_assert.recording.live_recording import LiveRecording
from rlhf_assert.recording.recorder import Recorder, RunStatus
from rlhf_assert.training.backend import Backend, backends, find_backend
from rlhf_assert.training.fault_kinds import FAULTS
from rlhf_assert.training.faults import Fault, encode_fault
from rlhf_assert.training.scenario import Scenario


def train_here(
    scenario: Scenario, path: Path, *, seed: int, steps: int, settings: Settings, fault: Fault | None = None
) -> RunStatus:
    """Train a scenario in this process and record how it ended.

    Args:
        scenario: what to train.
        path: the run directory to write.
        seed: seeds weights, data and sampling.
        steps: optimizer steps (PPO: updates).
        settings: what is set about detection, live and afterwards; kept in `run.json`.
        fault: what to break on purpose; kept in `run.json`.

    Returns:
        The run's status. An exception of the training is recorded as a crash, with its traceback and the place in the
        user's code, and is not raised. Only what asks the process itself to end (KeyboardInterrupt, SystemExit) is
        raised again.
    """
    backend = find_backend(scenario.backend)
    recorder = Recorder(
        path,
        scenario=scenario.name,
        backend=scenario.backend,
        file=str(scenario.file),
        seed=seed,
        steps=steps,
        learns=scenario.learns,
        detection=settings.table(),
        fault=encode_fault(fault),
        versions={"rlhf-assert": __version__, "python": platform.python_version(), **backend.versions()},
    )
    recording = LiveRecording(recorder)
    try:
        backend.train(scenario, recording, seed=seed, steps=steps, **broken_by(fault, backend))
    except TrainingStopped:
        return recording.finish("stopped")
    except BaseException as error:
        status = recording.finish("crashed", error)
        if not isinstance(error, Exception):
            raise
        return status
    return recording.finish()


def injectable(backend: Backend) -> frozenset[str]:
    """Return the kinds of faults that a backend injects.

    A backend whose `train` takes no `fault` injects none. Any other injects those that its attribute `faults` names, or
    all if it has no such attribute.
    """
    if "fault" not in inspect.signature(backend.train).parameters:
        return frozenset()
    return frozenset(getattr(backend, "faults", FAULTS))


def broken_by(fault: Fault | None, backend: Backend) -> dict[str, Fault]:
    """Return the argument `fault` for a backend's `train`; a backend that injects none need not know of it.

    Raises:
        UsageError: a fault that the backend does not inject; the message names the backends that do.
    """
    if fault is None:
        return {}
    if fault.kind not in injectable(backend):
        others = sorted(name for name, other in backends().items() if fault.kind in injectable(other))
        known = f"; {', '.join(others)} can" if others else ""
        raise UsageError(f"fault {fault.kind} does not apply: the backend {backend.name} cannot inject it{known}")
    return {"fault": fault}
