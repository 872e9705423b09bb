"""How a training of OpenRLHF ended, by the exit status of its driver and what its processes printed."""

from __future__ import annotations

import re
from pathlib import Path

from rlhf_assert.errors import RlhfAssertError, WorkerDied
from rlhf_assert.training.ending import describe_exit

_PREFIX = r"^(?:\x1b\[\d+m)*(?:\([^)]*\)(?:\x1b\[\d+m)* )?"
_ERROR = re.compile(_PREFIX + r"((?:\w+\.)*[A-Z]\w*(?:Error|Exception|Died|Exit)): (.+)$")
_DIED = "The actor died unexpectedly before finishing this task."
"""The first line of Ray's ActorDiedError; what names the actor comes after it."""
_CLASS = re.compile(r"class_name: (?P<name>\w+)")
_NO_PROCESS = "creation task"
"""Part of the reason where an actor never lived, as its constructor raised."""
_NOT_STARTED = "The current node timed out during startup"
_NODE = "Raylet is terminated. Termination is unexpected."
_ENGINE = re.compile(r"EngineDeadError|Engine core proc \S+ died|EngineCore encountered an issue")

_ENGINE_SPOKE = "EngineCore encountered a fatal error"
"""What an engine prints of an exception of its own, before others find it dead."""

ROLES = {
    "PolicyModelActor": "the process that trains the policy",
    "CriticModelActor": "the process that trains the critic",
    "ReferenceModelActor": "the process of the reference model",
    "RewardModelActor": "the process of the reward model",
    "RolloutRayActor": "the process that holds an engine",
    "PPOTrainer": "the process of the trainer",
    "PPOTrainerAsync": "the process of the trainer",
    "TrainingActor": "the process of the trainer",
    "GenerateSamplesActor": "the process that asks for completions",
}
"""Actor class of OpenRLHF -> what it is."""


class RayNotStarted(RlhfAssertError):
    """Ray did not come up in time, so that nothing was trained."""


def ending(status: int, output: Path) -> RlhfAssertError:
    """Return the error of a training whose driver ended with a status other than 0.

    Args:
        status: exit status of the driver; 128 + N if signal N killed it.
        output: the file to which all processes printed.

    Returns:
        `WorkerDied`, if a process ended without a word: the driver, an engine, or an actor; `RayNotStarted`; else an
        error that ends with the last one that was printed.
    """
    if status > 128:
        return WorkerDied(f"the driver died: {describe_exit(128 - status)}")
    if any(_NOT_STARTED in line for line in _lines(output)):
        return RayNotStarted("Ray did not come up within the 30 s that it gives itself: give the machine less to do")
    dead = who_died(output)
    if dead:  # what the others said last is that it died
        return WorkerDied(f"{dead} died without a word; the driver ended with exit status {status}")
    return RlhfAssertError(f"openrlhf ended with exit status {status}: {last_error(output)}")


def who_died(output: Path) -> str | None:
    """Return which process died by what others print of it, the first one if several; None if none did."""
    lines = _lines(output)
    for number, line in enumerate(lines):
        if _ENGINE_SPOKE in line:
            return None
        if _NODE in line:
            return "Ray's process of a node (raylet)"
        if _ENGINE.search(line):
            return "the process of an engine (EngineCore)"
        if _DIED in line:
            following = "\n".join(lines[number : number + 12])
            named = _CLASS.search(following)
            if named and _NO_PROCESS not in following:
                role = ROLES.get(named["name"])
                return f"{role} ({named['name']})" if role else f"the actor {named['name']}"
    return None


def last_error(output: Path) -> str:
    """Return the last line of an output that names an exception, the colours and process names of Ray left out."""
    lines = _lines(output)
    errors = [f"{match[1].rpartition('.')[2]}: {match[2]}" for line in lines if (match := _ERROR.match(line))]
    return errors[-1] if errors else (lines[-1] if lines else "it said nothing")


def _lines(output: Path) -> list[str]:
    try:
        return output.read_text(errors="replace").splitlines()
    except OSError:
        return []
