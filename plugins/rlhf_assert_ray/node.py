"""One training on a node of a cluster: `python -m rlhf_assert_ray.node`.

The first line of standard input is the training, as JSON (`training` in `ClusterRunner.submit`). When standard input
closes, the session that asked for it is gone: the node ends the training and removes its folder. It prints a JSON line
(`missing`, why it cannot train this, or null; `left_out`, the files that did not fit), and then the run directory as a
compressed tar.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import select
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import orjson
from filelock import FileLock, Timeout

from rlhf_assert.detect.settings import settings_of
from rlhf_assert.errors import MissingDependency
from rlhf_assert.training.local_runner import LocalRunner
from rlhf_assert.training.request import decode_request

PREFIX, LOCK = "rlhf-assert-node-", "held.lock"
SETTLED = 5.0
"""Seconds after which a folder that is in use has its lock."""


def main() -> None:
    """Train, and print the run directory."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a scenario's file prints is no run directory
    training = orjson.loads(read_line(0))
    with tempfile.TemporaryDirectory(prefix=PREFIX) as scratch, FileLock(Path(scratch) / LOCK):
        path = Path(scratch) / training["name"]
        missing = train(training, path)
        left_out: list[str] = []
        files = [] if missing else list(within(path, training["limit"], left_out))
        output.write(orjson.dumps({"missing": missing, "left_out": left_out}) + b"\n")
        if not missing:
            pack(path, files, output)
        output.flush()
        remove_abandoned()


def remove_abandoned() -> None:
    """Remove the folders of trainings that were killed with their node: nobody holds their lock any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(Timeout, OSError):
            if time.time() - folder.stat().st_mtime > SETTLED:
                with FileLock(folder / LOCK, timeout=0):
                    shutil.rmtree(folder)


def train(training: Mapping[str, Any], path: Path) -> str | None:
    """Train into a run directory, and return None; or return why this node cannot."""
    os.chdir(folder if (folder := Path(training["folder"])).is_dir() else path.parent)
    # How many trainings a node takes at a time is for the cluster to say.
    with LocalRunner(settings=settings_of(training), hold_device=False) as runner:
        try:
            runner.run(decode_request(training["request"]), path, on_progress=end_if_alone)
        except MissingDependency as error:
            return str(error)
    return None


def read_line(descriptor: int) -> bytes:
    """Read the first line, and no byte of what may follow."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(descriptor, 1)
        if not byte:
            raise SystemExit(1)
        line += byte
    return line


def end_if_alone() -> None:
    """End this process, in order, if nobody waits for it any more."""
    if select.select([0], [], [], 0)[0] and not os.read(0, 1):
        raise SystemExit(1)


def within(path: Path, limit: int, left_out: list[str]) -> Iterator[Path]:
    """Yield the files of a run directory up to `limit` bytes, logs before checkpoints; the others go to `left_out`."""
    files = [file for file in path.rglob("*") if file.is_symlink() or file.is_file()]
    sizes = {file: 0 if file.is_symlink() else file.stat().st_size for file in files}
    used = 0
    for file in sorted(files, key=lambda file: (file.is_relative_to(path / "checkpoints"), sizes[file], file)):
        if used + sizes[file] > limit:
            left_out.append(str(file.relative_to(path)))
            continue
        used += sizes[file]
        yield file


def pack(path: Path, files: list[Path], output: IO[bytes]) -> None:
    """Write files of a run directory as a compressed tar, as a stream."""
    with (
        gzip.GzipFile(fileobj=output, mode="wb", compresslevel=1) as packed,
        tarfile.open(fileobj=packed, mode="w|") as archive,
    ):
        for file in files:
            archive.add(file, arcname=str(file.relative_to(path)), recursive=False)


if __name__ == "__main__":
    main()
