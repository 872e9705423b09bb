"""Ray gives itself 30 s to come up, which a busy machine may not grant: it is launched once more, and only once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from rlhf_assert import Recorder, read_run, scenario
from rlhf_assert.errors import RlhfAssertError
from rlhf_assert.recording.events import Relaunch
from rlhf_assert.recording.live_recording import LiveRecording
from rlhf_assert_openrlhf import OpenRLHFTraining, backend
from rlhf_assert_openrlhf.environment import Environment

COMMAND = """
import json, os, pathlib, sys
launches = pathlib.Path(sys.argv[1])
with launches.open("a") as file:
    file.write(".")
print("launch", launches.stat().st_size)
if launches.stat().st_size <= int(sys.argv[2]):
    print("Exception: The current node timed out during startup. This could happen because some of the raylet failed")
    sys.exit(1)
with open(os.environ["RLHF_ASSERT_FEED"], "a") as feed:
    for line in ({"kind": "metrics", "step": 1, "metrics": {"kl": 0.1}}, {"kind": "end"}):
        feed.write(json.dumps(line) + "\\n")
"""


@scenario(backend="openrlhf", steps=1)
def small(ctx: Any) -> Any:
    """A training of one step."""
    return OpenRLHFTraining()


@pytest.fixture
def run_after(
    installed: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:  # in place of OpenRLHF's command, one that fails as Ray does
    def train(failures: int) -> Path:
        words = [sys.executable, "-c", COMMAND, str(tmp_path / "launches"), str(failures)]
        monkeypatch.setattr(backend, "command", lambda *_: (words, {}))
        live = LiveRecording(Recorder(tmp_path / "run", scenario="small", backend="openrlhf", steps=1))
        backend.BACKEND.train(small, live, seed=0, steps=1)
        live.finish()
        return tmp_path / "run"

    return train


def test_a_ray_that_does_not_come_up_is_started_again(run_after: Any) -> None:
    path = run_after(1)
    run = read_run(path)
    assert [row.step for row in run.rows] == [1]
    (told,) = run.events_of(Relaunch)
    assert told.reason.startswith("Ray did not come up")
    assert (path / "output.log").read_text() == "launch 2\n"
    assert (path / "output-first-launch.log").read_text().startswith("launch 1\n")


def test_a_ray_that_never_comes_up_is_not_started_a_third_time(run_after: Any, tmp_path: Path) -> None:
    with pytest.raises(RlhfAssertError, match="Ray did not come up within the 30 s"):
        run_after(9)
    assert (tmp_path / "launches").read_text() == ".."
    assert read_run(tmp_path / "run").rows == ()


def test_a_ray_that_comes_up_is_started_once(run_after: Any) -> None:
    path = run_after(0)
    assert not read_run(path).events_of(Relaunch)
    assert not (path / "output-first-launch.log").exists()
