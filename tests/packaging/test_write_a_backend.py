"""The backend of `docs/write-a-backend.md`, installed and run as the page has it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from rlhf_assert import Status
from rlhf_assert.recording.run import Run, read_run
from rlhf_assert.verdict import judge

PAGE = (Path(__file__).parents[2] / "docs" / "write-a-backend.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([\w.]+)`\n\n```\w+\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
"""The files that the page shows, by name."""


def install(folder: Path) -> None:
    """Put the page's package onto a path, as an installer does: its module, and what its pyproject declares."""
    (folder / "bandit_backend.py").write_text(FILES["bandit_backend.py"])
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    information = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = project["entry-points"].items()
    (information / "entry_points.txt").write_text(
        "".join(f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in own.items()) for group, own in groups)
    )


def train(folder: Path, scenario: str) -> tuple[subprocess.CompletedProcess[str], Run]:
    """Run `pytest --rlhf-scenario` on the page's scenario in a session of its own."""
    installed, project = folder / "installed", folder / "project"
    installed.mkdir()
    project.mkdir()
    install(installed)
    (project / "best_arm.py").write_text(scenario)
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "--rlhf-scenario=best_arm.py", "--rlhf-out=runs", "-p", "no:cacheprovider"],
        cwd=project,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(installed), *filter(None, sys.path)]),
            "CUDA_VISIBLE_DEVICES": f"bandit-{os.getpid()}",  # a lock of its own: this training disturbs nobody
        },
        capture_output=True,
        text=True,
        check=False,
    )
    (info,) = (project / "runs").rglob("run.json")
    return ended, read_run(info.parent)


def test_a_complete_backend_is_at_most_60_lines_of_code() -> None:
    assert set(FILES) == {"bandit_backend.py", "pyproject.toml", "best_arm.py"}
    assert len(FILES["bandit_backend.py"].splitlines()) <= 60


@pytest.mark.training
def test_the_pages_backend_trains_and_its_run_is_healthy(tmp_path: Path) -> None:
    ended, run = train(tmp_path, FILES["best_arm.py"])

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert run.status == "completed"
    assert (run.steps, len(run.rows)) == (60, 60)
    assert {"reward", "reward_std", "policy_loss", "entropy", "grad_norm"} <= set(run.series)
    assert run["reward"].last > run["reward"].first + 0.3
    assert len(run.resources) >= 2
    status = {check.name: check.status for check in judge(run).checks}
    assert {name for name, its in status.items() if its is Status.FAIL} == set()
    assert {name for name, its in status.items() if its is Status.PASS} >= {"completion", "completeness", "learning"}


@pytest.mark.training
def test_its_reward_that_returns_nan_is_found(tmp_path: Path) -> None:
    broken = FILES["best_arm.py"].replace("arms / 7", "arms / 7 if arms.mean() < 4.5 else arms * float('nan')")
    assert broken != FILES["best_arm.py"]
    ended, run = train(tmp_path, broken)

    assert ended.returncode == 1, ended.stdout + ended.stderr
    failed = {check.name for check in judge(run).failures}
    assert failed >= {"completion", "policy_loss", "gradients", "rewards"}
    assert run.error is not None
    assert "bandit_backend.py:" in run.error["frame"]
