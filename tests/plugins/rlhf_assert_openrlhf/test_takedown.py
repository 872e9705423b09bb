"""A launched training's Ray ends at once, with all that its processes have started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from rlhf_assert_openrlhf.attach import recording_variables
from rlhf_assert_openrlhf.environment import Environment, variables
from rlhf_assert_openrlhf.inside import takedown

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
PARENT = (
    f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]); "
    f"print(child.pid, flush=True); {STUBBORN}"
)


class Node:
    """Ray's, as far as its processes go."""

    def __init__(self) -> None:
        self.daemon = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
        assert self.daemon.stdout
        self.worker = psutil.Process(int(self.daemon.stdout.readline()))
        self.told: dict[str, Any] = {}

    def live_processes(self) -> list[tuple[str, Any]]:
        return [("raylet", self.daemon)]

    def kill_all_processes(self, check_alive: bool = True, allow_graceful: bool = False, wait: bool = False) -> None:
        self.told = {"check_alive": check_alive, "allow_graceful": allow_graceful, "wait": wait}


def test_what_ray_started_and_what_that_started_ends_without_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(Node=type("Node", (Node,), {"kill_all_processes": Node.kill_all_processes}))
    monkeypatch.setitem(sys.modules, "ray._private.node", module)
    with takedown.takedown.surround():
        pass
    node = module.Node()
    node.kill_all_processes(check_alive=False, allow_graceful=True)
    with node.daemon:
        assert node.daemon.wait(10) < 0
    psutil.wait_procs([node.worker], timeout=10)
    assert not node.worker.is_running() or node.worker.status() == psutil.STATUS_ZOMBIE
    assert node.told == {"check_alive": False, "allow_graceful": False, "wait": False}


def test_only_a_launched_training_is_taken_down(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    installed = Environment(Path(sys.executable), tmp_path, tmp_path, {"vllm": "0.29.0"})
    assert "RLHF_ASSERT_LAUNCHED" in variables(installed, tmp_path / "private", tmp_path / "feed.jsonl")
    (tmp_path / "attached").mkdir()
    assert "RLHF_ASSERT_LAUNCHED" not in recording_variables(tmp_path / "attached")
