"""The validation in real trainings: some faults, a scenario that trains in a second."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.training
NOTHING = """
class FindsNothing:
    name = "finds-nothing"

    def update(self, step, metrics):
        return ()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("validation")


def validate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "mine.py").write_text(NOTHING)
    command = [sys.executable, "-m", "rlhf_assert.cli", "validate", "--scenario=trl-sft", "--out=out", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )


@pytest.fixture(scope="module")
def first(folder: Path) -> subprocess.CompletedProcess[str]:
    """A fault that is found, and one that never happens, since its magnitude is that of health."""
    return validate(folder, "--fault=weights_nan", "--fault=slow_step@10x0", "--detector=mine.py", "--format=json")


def test_a_fault_is_found_and_one_that_does_nothing_is_not(first: subprocess.CompletedProcess[str]) -> None:
    assert first.stdout, first.stderr
    answer: dict[str, Any] = json.loads(first.stdout)
    found, harmless = answer["faults"]
    assert (found["fault"], found["detected"], found["delay"]) == ("weights_nan", True, 0)
    assert (harmless["fault"], harmless["detected"]) == ("slow_step", False)
    assert [control["flagged"] for control in answer["controls"]] == [False] * 5
    assert [log["detected"] for log in answer["logs"] if log["fault"] == "rate-zero"] == [True]
    assert answer["summary"]["FindsNothing"]["recall"]["hits"] == 0
    assert first.returncode == 1
    assert first.stderr.splitlines()[-1].startswith("exit 1   (recall 0.500 is under its floor of 0.95")


def test_a_validation_goes_on_from_what_is_there(first: subprocess.CompletedProcess[str], folder: Path) -> None:
    runs = sorted((folder / "out" / "runs").glob("*/run.json"))
    assert len(runs) == 7
    written = [run.stat().st_mtime_ns for run in runs]
    unfinished = runs[0]
    unfinished.write_text(json.dumps({**json.loads(unfinished.read_text()), "status": "running"}))

    again = validate(folder, "--fault=weights_nan", "--min-recall=1")

    assert again.returncode == 0, again.stdout + again.stderr
    assert "fault         1        0" in again.stdout
    assert (folder / "out" / "validation.svg").exists()
    changed = [run for run, before in zip(runs, written, strict=True) if run.stat().st_mtime_ns != before]
    assert changed == [unfinished]
    assert json.loads(unfinished.read_text())["status"] == "completed"


def test_pytest_runs_a_test_for_each_training_and_the_floor(pytester: pytest.Pytester) -> None:
    outcome = pytester.runpytest_subprocess("--rlhf-validate", "-k", "(sft and seed0) or floor", "-v")
    outcome.stdout.fnmatch_lines(
        [
            "*test_a_fault_is_found[[]*-trl-sft-seed0[]]*",
            "*test_health_is_not_flagged[[]trl-sft-seed0[]] PASSED*",
            "*test_the_floor_is_reached*",
            "*rlhf validation*",
            "*  healthy  *0  *1*",
        ]
    )
    counted = outcome.parseoutcomes()
    assert counted.get("failed", 0) <= 1  # a miss is an expected failure, which the floor counts
    assert counted.get("xfailed", 0) + counted["passed"] + counted.get("failed", 0) >= 5
