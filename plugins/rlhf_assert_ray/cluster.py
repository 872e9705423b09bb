"""Trains on a Ray cluster: the runner behind `--rlhf-ray`."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import select
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Self

import orjson

from rlhf_assert.detect.settings import Settings
from rlhf_assert.errors import MissingDependency, RlhfAssertError
from rlhf_assert.recording.encoding import encode
from rlhf_assert.recording.files import write_json
from rlhf_assert.recording.run import Run, read_run
from rlhf_assert.training.backend import find_backend
from rlhf_assert.training.ending import conclude
from rlhf_assert.training.interpreters import interpreter_with
from rlhf_assert.training.request import Request, encode_request
from rlhf_assert.training.runner import prepare_folder
from rlhf_assert.training.scenario import Scenario

POLL_SECONDS = 0.1
LIMIT = 512 << 20
"""Bytes of a run directory that come back; logs come before checkpoints."""
PASSED = ("RLHF_OPENRLHF_PYTHON", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "TOKENIZERS_PARALLELISM")
"""Environment variables of this process that a training on a node gets as well."""


class ClusterRunner:
    """Trains as tasks of a Ray cluster, many at a time; see the protocol `rlhf_assert.training.runner.Runner`.

    Args:
        address: the cluster, as `ray.init` takes it: `HOST:PORT`, or `auto` on one of its nodes.
        python: the interpreter on the nodes that has rlhf-assert and the trainer; by default this one's path, with what
            this one can import.
        settings: what is set about detection.

    Raises:
        MissingDependency: no interpreter here has Ray.
        RlhfAssertError: the cluster cannot be reached.
    """

    def __init__(self, address: str, *, python: str = "", settings: Settings | None = None) -> None:
        ray = python_with_ray()
        self._address = address
        self._words = [python or sys.executable, "-m", "rlhf_assert_ray.node"]
        own = {} if python else {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        self._variables = own | {name: os.environ[name] for name in PASSED if name in os.environ}
        self._settings = settings or Settings()
        self._answers: dict[str, dict[str, Any]] = {}
        self._asked: set[str] = set()
        self._unread = b""
        self._folder = tempfile.TemporaryDirectory(prefix="rlhf-assert-ray-")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the bridge
        self._bridge = subprocess.Popen(  # noqa: S603 - our own script
            [ray, "-P", str(Path(__file__).with_name("bridge.py")), address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,  # ^C is for the session, which then ends this
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        )
        try:
            while not (ready := self._receive()):
                continue
        except RlhfAssertError:
            self.close()
            raise
        if "error" in ready:
            self.close()
            raise RlhfAssertError(f"--rlhf-ray={address}: {ready['error']}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def warm_up(self, backend: str) -> None:
        """Do nothing: each task imports what it needs, on its node."""

    def submit(self, request: Request, path: Path) -> None:
        """Ask for a training, once, without waiting for it; `run` with the same path returns its run."""
        if str(path) in self._asked:
            return
        self._asked.add(str(path))
        order = {
            "id": str(path),
            "name": path.name,
            "file": str(self._file(path)),
            "needs": needs(request.scenario),
            "words": self._words,
            "variables": self._variables,
            "training": {
                "name": path.name,
                "request": encode_request(request),
                "detection": encode(self._settings.table()),
                "folder": str(Path.cwd()),
                "limit": LIMIT,
            },
        }
        assert self._bridge.stdin is not None
        try:
            self._bridge.stdin.write(orjson.dumps(order) + b"\n")
            self._bridge.stdin.flush()
        except OSError as error:
            raise self._died() from error

    def run(self, request: Request, path: Path, *, on_progress: Callable[[], None] = lambda: None) -> Run:
        """Train somewhere on the cluster, and return what was recorded; see `Runner.run`.

        The `run.json` holds in addition `cluster`: `node`, `host`, `lost` (the attempts whose node was lost, each with
        its `reason`) and `left_out` (the files that were too large to come back).

        Raises:
            MissingDependency: the node has not what the scenario needs.
            RlhfAssertError: the cluster is gone, or has no node that is large enough.
        """
        prepare_folder(path)
        self.submit(request, path)
        while (answer := self._answers.get(str(path))) is None:
            if (message := self._receive()) is not None:
                self._answers[message["id"]] = message
            else:
                on_progress()
        left_out: list[str] = []
        if answer["exit"] == 0:
            file = self._file(path)
            with file.open("rb") as stream:
                left_out = unpack(stream, path)
            file.unlink()
        elif not answer["lost"]:
            raise RlhfAssertError(f"{request.scenario.name}: {answer['said']} (--rlhf-ray={self._address})")
        run = conclude(path, {"message": f"on the cluster: {answer['said']}"}, request.scenario)
        info = {**run.info, "cluster": {**answer.get("node", {}), "lost": answer["lost"], "left_out": left_out}}
        write_json(path / "run.json", info)
        return read_run(path)

    def close(self) -> None:
        """End the bridge, and with it the trainings that still run."""
        assert self._bridge.stdin is not None
        assert self._bridge.stdout is not None
        with contextlib.suppress(OSError):
            self._bridge.stdin.close()
        self._bridge.wait()
        self._bridge.stdout.close()
        self._errors.close()
        self._folder.cleanup()

    def _file(self, path: Path) -> Path:
        return Path(self._folder.name) / f"{path.name}.out"

    def _receive(self) -> dict[str, Any] | None:
        """Return the next message, or None if there was none for a moment."""
        assert self._bridge.stdout is not None
        descriptor = self._bridge.stdout.fileno()
        if b"\n" not in self._unread and select.select([descriptor], [], [], POLL_SECONDS)[0]:
            received = os.read(descriptor, 65536)
            if not received:
                raise self._died()
            self._unread += received
        if b"\n" not in self._unread:
            return None
        line, _, self._unread = self._unread.partition(b"\n")
        message: dict[str, Any] = orjson.loads(line)
        return message

    def _died(self) -> RlhfAssertError:
        self._bridge.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
        return RlhfAssertError(f"--rlhf-ray={self._address}: the connection to the cluster ended: {said[-1]}")


def unpack(stream: IO[bytes], path: Path) -> list[str]:
    """Write what a node sent into a run directory, and return the files that did not fit; see `node`.

    Raises:
        MissingDependency: the node cannot train the scenario.
    """
    header: dict[str, Any] = orjson.loads(stream.readline())
    if header["missing"]:
        raise MissingDependency(header["missing"])
    with tarfile.open(fileobj=stream, mode="r|gz") as archive:
        archive.extractall(path, filter="data")
    left_out: list[str] = header["left_out"]
    return left_out


def needs(scenario: Scenario) -> Mapping[str, float]:
    """Return the CPUs and GPUs of a node that a training takes: the scenario's own, or its backend's."""
    backend = getattr(find_backend(scenario.backend), "needs", {})
    own = {"CPU": scenario.cpus, "GPU": scenario.gpus}
    return {kind: backend.get(kind, 0.0) if amount is None else amount for kind, amount in own.items()}


def python_with_ray() -> str:
    """Return an interpreter that has Ray: this one, or the one that has OpenRLHF.

    Raises:
        MissingDependency: neither has it.
    """
    if importlib.util.find_spec("ray") is not None:
        return sys.executable
    python = interpreter_with("ray")
    if python is None:
        raise MissingDependency(
            "ray not installed, neither here nor with OpenRLHF: make openrlhf-env, or pip install 'ray[default]'"
        )
    return str(python)
