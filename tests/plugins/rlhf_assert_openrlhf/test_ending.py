"""Who died, by what Ray and vLLM print of it: lines of real trainings."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlhf_assert.errors import WorkerDied
from rlhf_assert_openrlhf.ending import ending

PPO = "\x1b[36m(PPOTrainer pid=15450)\x1b[0m "
DIED = f"""{PPO}Traceback (most recent call last):
ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.
\tclass_name: PolicyModelActor
\tactor_id: cb61b8643b2d99031dc7254901000000
\tpid: 15135
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR
"""
UNBORN = """ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.
\tclass_name: CriticModelActor
The actor died because of an error raised in its creation task, ray::CriticModelActor.__init__()
ValueError: no such model
"""
ENGINE = """(RolloutRayActor pid=7) ERROR Engine core proc EngineCore died unexpectedly, shutting down client.
vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace above for the root cause.
"""
RAYLET = "\x1b[33m(raylet)\x1b[0m Raylet is terminated. Termination is unexpected. Possible reasons include: (1)\n"


@pytest.mark.parametrize(
    ("status", "printed", "said"),
    [
        (1, DIED, "the process that trains the policy (PolicyModelActor) died without a word; the driver ended with"),
        (1, DIED.replace("PolicyModel", "MyOwn"), "the actor MyOwnActor died without a word"),
        (1, ENGINE + DIED.replace("PolicyModel", "RolloutRay"), "the process of an engine (EngineCore) died"),
        (1, RAYLET + DIED, "Ray's process of a node (raylet) died"),
        (137, DIED, "the driver died: killed by SIGKILL (signal 9)"),
    ],
)
def test_what_died_is_named(tmp_path: Path, status: int, printed: str, said: str) -> None:
    (tmp_path / "output.log").write_text(printed)
    error = ending(status, tmp_path / "output.log")
    assert isinstance(error, WorkerDied)
    assert str(error).startswith(said)
    assert "\n" not in str(error)


RAISING = f"(EngineCore pid=9) ERROR EngineCore encountered a fatal error.\n{ENGINE}ValueError: no such model\n"


@pytest.mark.parametrize("printed", [UNBORN, "ValueError: no such model\n", RAISING])
def test_an_exception_is_no_death(tmp_path: Path, printed: str) -> None:
    (tmp_path / "output.log").write_text(printed)
    error = ending(1, tmp_path / "output.log")
    assert not isinstance(error, WorkerDied)
    assert str(error) == "openrlhf ended with exit status 1: ValueError: no such model"


def test_a_training_that_printed_nothing(tmp_path: Path) -> None:
    assert str(ending(3, tmp_path / "output.log")) == "openrlhf ended with exit status 3: it said nothing"
