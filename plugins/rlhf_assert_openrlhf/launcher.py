"""Runs one command so that nothing of it is left, however it ends: `python -m rlhf_assert_openrlhf.launcher`.

Ray starts daemons and workers in process groups of their own, so a group cannot be killed at once. This process becomes
their subreaper (prctl(2)): whatever the command starts stays its descendant. It ends them all when the command has
ended, when its time is over, or when its standard input closes: that is when who asked for the command is gone, were it
by SIGKILL.

The first line of standard input is the order, as JSON: `command` (words), `variables` (of the environment), `folder`
(its working folder, removed at the end), `output` (a file), `seconds` (the time limit). Exit status: that of the
command, 128 + N if signal N killed it, 124 if its time was over.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL_SECONDS = 0.1
TIME_OVER = 124
LAST_WORDS_SECONDS = 2.0


class Launched:
    """A command under a launcher of its own.

    Args:
        command: the words of the command.
        variables: its whole environment.
        folder: its private folder; the launcher removes it.
        output: the file to which it prints; appended to.
        seconds: the time limit.
    """

    def __init__(
        self, command: Sequence[str], variables: Mapping[str, str], folder: Path, output: Path, seconds: float
    ) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            start_new_session=True,  # ^C is for who started it, and reaches this by the closed input
            env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        )
        assert self._process.stdin
        order = {
            "command": list(command),
            "variables": dict(variables),
            "folder": str(folder),
            "output": str(output),
            "seconds": seconds,
        }
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()

    @property
    def process_number(self) -> int:
        """The launcher's process number: every process of the command descends from it."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit status, None while the command runs."""
        return self._process.poll()

    def close(self) -> int:
        """End the command if it runs, and return the exit status once nothing of it is left."""
        assert self._process.stdin
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        return self._process.wait()


def main() -> None:
    """Carry out the order on standard input."""
    order = json.loads(sys.stdin.buffer.readline())
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    status, begun = 1, time.time()
    try:
        with Path(order["output"]).open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - the order's own command
                order["command"],
                env=order["variables"],
                cwd=order["folder"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Were this process killed, the driver would go with it, and Ray's processes with their driver.
                preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0),  # noqa: PLW1509
            )
        status = wait(process, time.monotonic() + order["seconds"])
    finally:
        end_descendants()
        remove_semaphores(begun)
        shutil.rmtree(order["folder"], ignore_errors=True)
    sys.exit(status)


def wait(process: subprocess.Popen[bytes], deadline: float) -> int:
    """Wait for the command, and return its exit status; at the deadline, or when the input closes, do not wait on."""
    while (code := process.poll()) is None:
        if time.monotonic() > deadline:
            return TIME_OVER
        if select.select([0], [], [], POLL_SECONDS)[0] and not os.read(0, 4096):
            return 1
    return code if code >= 0 else 128 - code


def end_descendants() -> None:
    """Kill every descendant, politely first so that shared memory is given back; returns when none is left."""
    polite_until = time.monotonic() + LAST_WORDS_SECONDS
    while living := _descendants():
        for process in living:
            with contextlib.suppress(psutil.Error):
                if time.monotonic() < polite_until:
                    process.terminate()
                else:
                    process.kill()
        psutil.wait_procs(living, timeout=POLL_SECONDS)
    with contextlib.suppress(ChildProcessError):  # orphans that became ours: their time is to count as ours
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def remove_semaphores(since: float) -> None:
    """Remove this user's semaphores of Python's multiprocessing that were made since a time and that no process holds.

    vLLM makes some, and Ray kills the process that would remove them. Who makes a semaphore maps it before it is there.
    """
    held = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            # By number: the C library maps a semaphore under another name, which is deleted already.
            held |= {int(line.split()[4]) for line in maps.read_text().splitlines() if "/dev/shm/sem." in line}  # noqa: S108
    for semaphore in Path("/dev/shm").glob("sem.mp-*"):  # noqa: S108
        with contextlib.suppress(OSError):
            gathered = semaphore.stat()
            if gathered.st_uid == os.getuid() and gathered.st_ctime >= since and gathered.st_ino not in held:
                semaphore.unlink()


def _descendants() -> list[psutil.Process]:
    gathered = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                gathered.append(process)
    return gathered


if __name__ == "__main__":
    main()
