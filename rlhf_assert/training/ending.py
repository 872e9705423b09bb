"""How a training process ended: in words, and written into `run.json` where the process could not do so itself."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlhf_assert.errors import RecordingError
from rlhf_assert.recording.files import write_json
from rlhf_assert.recording.recorder import FORMAT
from rlhf_assert.recording.run import Run, read_info, read_run
from rlhf_assert.training.scenario import Scenario


def conclude(path: Path, ended: Mapping[str, Any], scenario: Scenario) -> Run:
    """Return the run of a training whose process has ended, and complete its `run.json`.

    Args:
        path: the run directory.
        ended: `exit`, `signal` and `timeout` of the process, or a `message` where these are not known.
        scenario: what was trained.
    """
    file = path / "run.json"
    unstarted = {"format": FORMAT, "id": path.name, "scenario": scenario.name, "backend": scenario.backend}
    info: dict[str, Any] = read_info(path) if file.exists() else unstarted
    said = info.get("error") or {}
    if info.get("status", "running") == "running" or said.get("type") == "ProcessDied":
        info.setdefault("started", time.time())
        info["status"] = "timeout" if ended.get("timeout") else "crashed"
        info["error"] = unspoken_end(path, ended, scenario)
        info["finished"] = time.time()
        with contextlib.suppress(RecordingError):  # a run on a full disk is judged all the same
            write_json(file, info)
    run = read_run(path)
    return replace(run, info=info)


def unspoken_end(path: Path, ended: Mapping[str, Any], scenario: Scenario) -> dict[str, str]:
    """Return the error of a training that could not write it: it was killed, hung, or died while starting."""
    tail = last_output(path / "output.log")
    if ended.get("timeout"):
        limit = f"{scenario.time_limit:g} s"
        return {"type": "Timeout", "message": f"no end after {limit}, the scenario's time_limit", "traceback": tail}
    if ended.get("message"):
        return {"type": "ProcessDied", "message": str(ended["message"]), "traceback": tail}
    code = -int(ended["signal"]) if ended.get("signal") else int(ended.get("exit") or 0)
    return {"type": "ProcessDied", "message": f"the training process ended: {describe_exit(code)}", "traceback": tail}


def last_output(file: Path, lines: int = 60) -> str:
    """Return the last lines that a training printed, faulthandler's stacks among them."""
    try:
        printed = file.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    # After its stacks faulthandler lists every extension module, in a line of kilobytes.
    return "\n".join([line for line in printed if not line.startswith("Extension modules:")][-lines:])


def describe_exit(code: int) -> str:
    """Return `killed by SIGKILL (signal 9)` or `exit status 3` for a process's return code."""
    if code >= 0:
        return f"exit status {code}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-code).name} (signal {-code})"
    return f"killed by signal {-code}"
