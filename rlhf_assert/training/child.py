"""The warm child: imports one backend, then forks for every training that it is asked for.

`python -m rlhf_assert.training.child BACKEND` speaks JSON lines: jobs on standard input (`WarmChild.run` writes them),
`{"ready": true}` and then one `{"exit", "signal", "timeout"}` per job on standard output. When standard input
closes, the child kills the training that runs, and ends: nothing outlives the session that started it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

import orjson

from rlhf_assert.detect.settings import settings_of
from rlhf_assert.errors import UsageError
from rlhf_assert.recording.crash import describe_crash
from rlhf_assert.recording.recorder import Recorder
from rlhf_assert.training.backend import find_backend
from rlhf_assert.training.request import decode_request
from rlhf_assert.training.train import train_here

POLL_SECONDS = 0.02
STACK_DUMP_SECONDS = 0.5


def main() -> None:
    """Serve jobs until standard input closes."""
    replies = os.dup(1)
    os.dup2(2, 1)  # what a framework prints while it is imported is no reply
    find_backend(sys.argv[1]).warm_up()
    gc.collect()
    gc.freeze()  # a collection in a fork must neither scan nor copy what the import left behind
    os.write(replies, b'{"ready": true}\n')
    unread = b""
    while received := os.read(0, 65536):
        unread += received
        while b"\n" in unread:
            line, _, unread = unread.partition(b"\n")
            job = orjson.loads(line)
            ended = supervise(job, fork(job, replies))
            os.write(replies, orjson.dumps(ended) + b"\n")


def fork(job: dict[str, Any], replies: int) -> int:
    """Fork, train in the fork, and return its process number."""
    process = os.fork()
    if process:
        with contextlib.suppress(OSError):  # the fork does it too: whoever comes first
            os.setpgid(process, process)
        return process
    code = 1
    try:
        os.setpgid(0, 0)  # the training's own workers die with it
        os.close(replies)
        output = os.open(Path(job["path"]) / "output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        faulthandler.enable()
        faulthandler.register(signal.SIGUSR1)
        sys.path[:] = job["sys_path"]
        os.chdir(job["folder"])
        train(job)
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, it must reach the log and not the parent's loop
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)  # no exit handlers: they belong to the parent


def train(job: dict[str, Any]) -> None:
    """Find what the job requests, and train it; a scenario that cannot be found is recorded as the run's error."""
    path, settings = Path(job["path"]), settings_of(job)
    try:
        request = decode_request(job["request"])
    except UsageError as error:
        asked = job["request"]["fields"]
        recorder = Recorder(path, scenario=asked["name"], backend=asked["backend"], seed=job["request"]["seed"])
        recorder.finish("crashed", describe_crash(error))
        return
    train_here(request.scenario, path, seed=request.seed, steps=request.steps, settings=settings, fault=request.fault)


def supervise(job: dict[str, Any], process: int) -> dict[str, Any]:
    """Wait for a training, and kill it at its time limit or when the session that asked for it is gone."""
    deadline = time.monotonic() + float(job["time_limit"])
    timeout = False
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > deadline:
            timeout = True
            os.kill(process, signal.SIGUSR1)  # faulthandler writes every stack into output.log
            time.sleep(STACK_DUMP_SECONDS)
            kill_group(process)
            _, status = os.waitpid(process, 0)
            break
        # Jobs come one at a time: what becomes readable now is the end of the input.
        if select.select([0], [], [], POLL_SECONDS)[0]:
            kill_group(process)
            os.waitpid(process, 0)
            raise SystemExit(0)
    kill_group(process)
    killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    return {"exit": None if killed else os.WEXITSTATUS(status), "signal": killed, "timeout": timeout}


def kill_group(process: int) -> None:
    """Kill a training and the workers that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process, signal.SIGKILL)


if __name__ == "__main__":
    main()
