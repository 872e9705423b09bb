"""Whatever way a command ends, nothing of it is left: real processes, which hide as well as Ray's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from rlhf_assert_openrlhf.launcher import TIME_OVER, Launched

# A daemon in a session of its own that ignores SIGTERM and outlives its parent, as Ray's do.
HIDING = """
import os, signal, subprocess, sys, time
daemon = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
started = subprocess.Popen([sys.executable, "-c", daemon], start_new_session=True, stdout=subprocess.PIPE)
started.stdout.readline()
print(started.pid, flush=True)
"""


@pytest.fixture
def launch(tmp_path: Path) -> Callable[..., tuple[Launched, int]]:
    def start(code: str, seconds: float = 60.0) -> tuple[Launched, int]:
        """Launch, and return also the process number of the daemon."""
        folder = tmp_path / "private"
        folder.mkdir()
        output = tmp_path / "output.log"
        launched = Launched([sys.executable, "-c", HIDING + code], dict(os.environ), folder, output, seconds)
        while not output.is_file() or not output.read_text().strip():
            assert launched.poll() is None
            time.sleep(0.02)
        return launched, int(output.read_text().split()[0])

    return start


def wait_for_end(process: int) -> None:
    deadline = time.monotonic() + 30.0
    while psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"process {process} is left"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("code", "status"),
    [("time.sleep(0.3)", 0), ("sys.exit(7)", 7), ("os.kill(os.getpid(), signal.SIGKILL)", 128 + signal.SIGKILL)],
)
def test_a_command_that_ends_by_itself(
    launch: Callable[..., tuple[Launched, int]], tmp_path: Path, code: str, status: int
) -> None:
    launched, daemon = launch("time.sleep(0.5)\n" + code)
    while launched.poll() is None:
        time.sleep(0.02)
    assert launched.close() == status
    assert not psutil.pid_exists(daemon)
    assert not (tmp_path / "private").exists()


def test_a_command_whose_time_is_over(launch: Callable[..., tuple[Launched, int]], tmp_path: Path) -> None:
    launched, daemon = launch("time.sleep(600)", seconds=1.5)
    while launched.poll() is None:
        time.sleep(0.02)
    assert launched.close() == TIME_OVER
    assert not psutil.pid_exists(daemon)
    assert not (tmp_path / "private").exists()


def test_closing_ends_a_command_that_runs(launch: Callable[..., tuple[Launched, int]], tmp_path: Path) -> None:
    launched, daemon = launch("time.sleep(600)")
    assert launched.close() != 0
    assert not psutil.pid_exists(daemon)
    assert not (tmp_path / "private").exists()


def test_who_asked_for_it_is_killed_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    asks = f"""
import os, sys, time
from pathlib import Path
from rlhf_assert_openrlhf.launcher import Launched
folder = Path({str(tmp_path)!r})
words = [sys.executable, "-c", {HIDING + "time.sleep(600)"!r}]
Launched(words, dict(os.environ), folder / "private", folder / "output", 60)
time.sleep(600)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, "-c", asks], env=environment) as asking:
        output = tmp_path / "output"
        while not output.is_file() or not output.read_text().strip():
            time.sleep(0.02)
        asking.kill()
    wait_for_end(int(output.read_text().split()[0]))
    deadline = time.monotonic() + 30.0
    while (tmp_path / "private").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_launcher_takes_its_command_along(launch: Callable[..., tuple[Launched, int]], tmp_path: Path) -> None:
    """Its daemons end with the command only if they watch it, as Ray's do; and the folder stays."""
    launched, daemon = launch("time.sleep(600)")
    children = psutil.Process(launched.process_number).children(recursive=True)
    command = next(child for child in children if child.pid != daemon)
    os.kill(launched.process_number, signal.SIGKILL)
    wait_for_end(command.pid)
    psutil.Process(daemon).kill()
    assert launched.close() == -signal.SIGKILL


def test_semaphores_that_killed_processes_leave_are_removed_and_no_other(
    launch: Callable[..., tuple[Launched, int]], tmp_path: Path
) -> None:
    own = f"mp-kept{os.getpid()}"
    make = "import _multiprocessing; kept = _multiprocessing.SemLock(1, 1, 1, {!r}, False)"
    launched, _ = launch(f"{make.format(f'/mp-left{os.getpid()}')}\ntime.sleep(600)")
    left, kept = Path(f"/dev/shm/sem.mp-left{os.getpid()}"), Path(f"/dev/shm/sem.{own}")
    while not left.exists():
        time.sleep(0.02)
    with subprocess.Popen([sys.executable, "-c", make.format(f"/{own}") + "; import time; time.sleep(600)"]) as holder:
        while not kept.exists():
            time.sleep(0.02)
        launched.close()
        there = left.exists(), kept.exists()
        holder.kill()
    kept.unlink(missing_ok=True)
    assert there == (False, True)
