"""A session's trainings on a real Ray cluster: spread over its nodes, one of which dies in the middle."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from rlhf_assert import read_run
from rlhf_assert.recording.events import Actors

pytestmark = [pytest.mark.training, pytest.mark.thorough]

TESTS = """
from rlhf_assert import assert_training_completed, scenario
import pytest

def test_it_completes(rlhf_run, rlhf_assert_check):
    rlhf_assert_check(assert_training_completed)

@scenario(backend="trl", cpus=64)
def huge(ctx): ...

@pytest.mark.rlhf_scenario(huge)
def test_that_is_too_large(rlhf_run): ...
"""
PLAIN = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:randomly")


def trainings() -> dict[int, str]:
    """Return the trainings that run on a node: process number, and the number of the node."""
    found = {}
    for process in psutil.process_iter():
        try:
            if process.cmdline()[1:] != ["-m", "rlhf_assert_ray.node"]:
                continue
            raylet = " ".join(" ".join(parent.cmdline()) for parent in process.parents())
            found[process.pid] = raylet.partition("--node_id=")[2].split(" ")[0]
        except psutil.Error:
            continue
    return found


def scratch() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("rlhf-assert-node-*"))


@pytest.mark.parametrize("cluster", [(1, 2)], indirect=True)
def test_an_openrlhf_training_is_a_task_with_a_ray_of_its_own(cluster: Any, tmp_path: Path) -> None:
    asked = ("--rlhf-scenario=openrlhf-reinforce", "--rlhf-steps=6", f"--rlhf-ray={cluster.address}", "--rlhf-out=out")
    session = subprocess.run(
        [sys.executable, "-m", "pytest", *PLAIN, *asked],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=False,
    )
    (file,) = (tmp_path / "out").glob("*/*/run.json")
    run = read_run(file.parent)
    assert run.status == "completed", run.error
    assert [row.step for row in run.rows] == list(range(1, 7))
    assert run.info["cluster"]["node"] == cluster.numbers[0]
    looks = run.events_of(Actors)
    assert {"PolicyModelActor", "RolloutRayActor"} <= {actor.class_name for actor in looks[-1].actors}
    assert len(run.checkpoints) == 2
    assert " failed" not in session.stdout, session.stdout
    assert not trainings()


def test_a_matrix_is_spread_over_the_nodes_and_what_a_lost_one_had_is_trained_again(
    cluster: Any, pytester: pytest.Pytester
) -> None:
    before = scratch()
    path = pytester.makepyfile(TESTS)
    two = ("--rlhf-scenario=trl-sft", "--rlhf-scenario=trl-reward", "--rlhf-seed=0-1", "--rlhf-steps=40")
    session = subprocess.Popen(
        [sys.executable, "-m", "pytest", *PLAIN, *two, f"--rlhf-ray={cluster.address}", "--rlhf-out=out", str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    while not set(trainings().values()) >= set(cluster.numbers):  # both nodes train at the same time
        assert session.poll() is None
        time.sleep(0.1)
    cluster.kill(cluster.numbers[0])
    printed, _ = session.communicate()

    assert "4 passed, 2 errors" in printed, printed
    assert "huge: no node of the cluster has 64 CPU" in printed
    runs = [read_run(file.parent) for file in (pytester.path / "out").glob("*/*/run.json")]
    trained = {(run.scenario, run.seed): run for run in runs if run.scenario != "huge"}
    assert set(trained) == {(name, seed) for name in ("trl-sft", "trl-reward") for seed in (0, 1)}
    assert all(run.status == "completed" and run.steps == 40 for run in trained.values())
    assert all(run.checkpoints for run in trained.values())
    lost = [(run, one) for run in trained.values() for one in run.info["cluster"]["lost"]]
    assert [one["node"] for _, one in lost] == [cluster.numbers[0]], "it trained one at a time"
    assert {run.info["cluster"]["node"] for run, _ in lost} == {cluster.numbers[1]}
    ((run, one),) = lost
    assert f"{run.scenario} seed {run.seed}: node {one['node'][:8]} ({one['reason']}); trained again on" in printed
    assert not trainings()
    assert scratch() == before
