"""The parent's side of a warm child: a process that has imported a backend, and forks for each training.

Importing a training framework takes several times as long as a tiny scenario, so one child per backend imports it once.
`rlhf_assert.training.child` is the other side.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from rlhf_assert.detect.settings import Settings
from rlhf_assert.errors import MissingDependency, RlhfAssertError
from rlhf_assert.recording.encoding import encode
from rlhf_assert.training.backend import find_backend
from rlhf_assert.training.ending import describe_exit
from rlhf_assert.training.request import Request, encode_request

POLL_SECONDS = 0.1


class WarmChild:
    """A process that has imported one backend and forks for each training.

    Raises:
        MissingDependency: the backend's packages are not installed.
        RlhfAssertError: the child ended while importing them; the message ends with its last line.
    """

    def __init__(self, backend: str) -> None:
        missing = find_backend(backend).missing()
        if missing:
            raise MissingDependency(missing)
        self.backend = backend
        self._errors = tempfile.NamedTemporaryFile(prefix="rlhf-assert-child-", suffix=".log")  # noqa: SIM115
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "rlhf_assert.training.child", backend],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,  # ^C reaches this process alone, which then ends the child in order
            env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        )
        self._unread = b""
        self._ready = False

    def run(
        self, request: Request, path: Path, settings: Settings, on_progress: Callable[[], None] = lambda: None
    ) -> dict[str, Any]:
        """Train, and return how the training process ended: `exit`, `signal` and `timeout`.

        Args:
            request: what to train.
            path: the run directory to write.
            settings: what is set about detection.
            on_progress: called about every 0.1 s while waiting.
        """
        if not self._ready:
            self._receive(on_progress)
            self._ready = True
        job = {
            "request": encode_request(request),
            "path": str(path.resolve()),
            "time_limit": encode(float(request.scenario.time_limit)),
            "sys_path": sys.path,
            "folder": str(Path.cwd()),
            "detection": encode(settings.table()),
        }
        self._send(job)
        return self._receive(on_progress)

    def close(self) -> None:
        """End the child, and with it a training that still runs."""
        with contextlib.suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._errors.close()

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(orjson.dumps(message) + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._died() from error

    def _receive(self, on_progress: Callable[[], None]) -> dict[str, Any]:
        assert self._process.stdout
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._unread:
            if select.select([descriptor], [], [], POLL_SECONDS)[0]:
                received = os.read(descriptor, 65536)
                if not received:
                    raise self._died()
                self._unread += received
            else:
                on_progress()
        line, _, self._unread = self._unread.partition(b"\n")
        message: dict[str, Any] = orjson.loads(line)
        return message

    def _died(self) -> RlhfAssertError:
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        return RlhfAssertError(
            f"the {self.backend} process ended ({describe_exit(code)}): {said[-1] if said else 'it said nothing'}"
        )
