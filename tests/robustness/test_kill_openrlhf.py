"""SIGKILL of a process of a real OpenRLHF training: a readable run, a verdict that names what died, nothing left."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from rlhf_assert.checked import Status
from rlhf_assert.errors import MissingDependency
from rlhf_assert.recording.run import read_info
from rlhf_assert.training.local_runner import LocalRunner
from rlhf_assert.training.request import Request
from rlhf_assert.verdict import judge
from rlhf_assert_openrlhf.environment import find_environment
from rlhf_scenarios.openrlhf_reinforce import reinforce

pytestmark = [pytest.mark.training, pytest.mark.thorough]

STEPS = 200
"""More than are ever made: each training is killed as soon as its first step is recorded."""


@pytest.fixture(scope="module")
def runner() -> Iterator[LocalRunner]:
    try:
        find_environment()
    except MissingDependency as error:
        pytest.skip(str(error))
    with LocalRunner() as runner:
        yield runner


def processes(path: Path) -> Iterator[tuple[psutil.Process, str]]:
    """Yield the living processes of the training that is recorded in `path`, each with its command line."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            own = process.environ().get("RLHF_ASSERT_FEED") == str((path / "feed.jsonl").resolve())
            if own and process.status() != psutil.STATUS_ZOMBIE:
                yield process, " ".join(process.cmdline()) or process.name()


def killer(path: Path, wanted: str, folders: set[Path]) -> Callable[[], None]:
    """Return a function that kills the first process whose command line has `wanted` in it, once; and notes folders."""

    def kill() -> None:
        if folders or not (path / "metrics.jsonl").exists():
            return
        for process, command in processes(path):
            if wanted in command:
                folders.add(Path(process.environ()["RAY_TMPDIR"]))
                process.kill()
                return

    return kill


@pytest.mark.parametrize(
    ("wanted", "named", "cause"),
    [
        ("openrlhf.cli.train_ppo_ray", "the driver died: killed by SIGKILL", "the driver died"),
        ("ray::PolicyModelActor", "the process that trains the policy (PolicyModelActor) died", "PolicyModelActor"),
        ("EngineCore", "the process of an engine (EngineCore) died", "engine"),
    ],
    ids=["driver", "actor", "engine"],
)
def test_a_killed_process_is_named_and_nothing_is_left(
    runner: LocalRunner, tmp_path: Path, wanted: str, named: str, cause: str
) -> None:
    path, folders = tmp_path / "run", set[Path]()
    run = runner.run(Request.of(reinforce, steps=STEPS), path, on_progress=killer(path, wanted, folders))

    (folder,) = folders
    assert not list(processes(path))
    assert not folder.exists()
    assert run.status == "crashed"
    assert 1 <= run.steps < STEPS
    assert [row.step for row in run.rows] == list(range(1, run.steps + 1))
    assert len(run.samples) >= 64 * run.steps
    verdict = judge(run)
    (completion,) = [check for check in verdict.checks if check.name == "completion"]
    assert completion.status is Status.FAIL
    assert named in completion.headline
    assert cause in str(completion.cause)
    assert " died" in str(completion.cause)
    assert str(verdict.chains[0].root.cause) == str(completion.cause)


def test_who_records_is_killed(runner: LocalRunner, tmp_path: Path) -> None:
    """The training goes down with it, within moments."""
    path, folders = tmp_path / "run", set[Path]()

    def kill() -> None:
        if (path / "metrics.jsonl").exists() and not folders:
            folders.update(Path(process.environ()["RAY_TMPDIR"]) for process, _ in processes(path))
            psutil.Process(read_info(path)["pid"]).kill()

    run = runner.run(Request.of(reinforce, steps=STEPS), path, on_progress=kill)

    assert folders
    deadline = time.monotonic() + 60.0
    while list(processes(path)) or any(folder.exists() for folder in folders):
        assert time.monotonic() < deadline, "something is left"
        time.sleep(0.2)
    assert run.status == "crashed"
    assert run.error is not None
    assert "killed by SIGKILL (signal 9)" in run.error["message"]
    assert judge(run).status is Status.FAIL
