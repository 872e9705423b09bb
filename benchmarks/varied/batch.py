"""Trains many runs, two at a time, and asks `rlhf-assert check` about them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import orjson
from scipy.stats import beta

from rlhf_assert import Run, read_run
from rlhf_assert.training.local_runner import LocalRunner
from rlhf_assert.training.locator import scenarios_in_file
from rlhf_assert.training.request import Request

Job = tuple[Path, str, Path, int, int]
"""The scenario's file and name, the run directory, the seed and the steps."""

PROCESSES = 2
CHECK = [sys.executable, "-m", "rlhf_assert.cli", "check", "--format=json", "--fail-on=never", "--allow-unjudged"]

_runner: LocalRunner


def train_all(jobs: Sequence[Job], report: Callable[[Run], None]) -> None:
    """Train every job whose directory holds no run yet, with progress on stderr; `report` gets each as it ends."""
    todo = [job for job in jobs if not (job[2] / "run.json").exists()]
    begun = time.monotonic()
    with ProcessPoolExecutor(PROCESSES, initializer=_start) as pool:
        futures = [pool.submit(_train, *job) for job in todo]
        for done, future in enumerate(as_completed(futures), start=1):
            run = read_run(future.result())
            report(run)
            spent = time.monotonic() - begun
            left = spent / done * (len(todo) - done)
            print(f"{done}/{len(todo)}  {run.path.name}  {spent:.0f} s, {left:.0f} s left", file=sys.stderr, flush=True)


def _start() -> None:
    global _runner  # noqa: PLW0603 - one warm child per process of the pool
    # The device's lock lies in the folder for temporary files: one each, as no timing is judged here.
    tempfile.tempdir = tempfile.mkdtemp(prefix="rlhf-assert-batch-")
    _runner = LocalRunner()


def _train(file: Path, scenario: str, path: Path, seed: int, steps: int) -> Path:
    _runner.run(Request.of(scenarios_in_file(file)[scenario], seed=seed, steps=steps), path)
    return path


def exported_log(run: Path) -> Path | None:
    """Return the last trainer_state.json that the trainer itself saved: what a user of TRL has in hand."""
    found = (run / "checkpoints").glob("checkpoint-*/trainer_state.json")
    return max(found, key=lambda path: int(path.parent.name.rpartition("-")[2]), default=None)


def check(paths: Sequence[Path], size: int = 50) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """Yield each path with the findings of `rlhf-assert check` at warning or critical, gravest first."""
    for start in range(0, len(paths), size):
        part = [str(path) for path in paths[start : start + size]]
        done = subprocess.run([*CHECK, *part], capture_output=True, check=False, env=os.environ)
        if done.returncode:
            raise SystemExit(f"check ended with exit code {done.returncode}: {done.stderr.decode()[-1000:]}")
        for entry in orjson.loads(done.stdout)["runs"]:
            if entry["error"]:
                raise SystemExit(f"{entry['source']}: {entry['error']}")
            findings = [found for found in entry["findings"] if found["severity"] != "info"]
            yield Path(entry["source"]), sorted(findings, key=lambda found: found["severity"])


def append_line(file: Path, record: dict[str, Any]) -> None:
    """Append a line to a JSONL file."""
    with file.open("ab") as stream:
        stream.write(orjson.dumps(record) + b"\n")


def share(count: int, total: int) -> dict[str, Any]:
    """A share with its 95 % interval by Clopper and Pearson (1934), which covers at least that."""
    low = float(beta.ppf(0.025, count, total - count + 1)) if count else 0.0
    high = float(beta.ppf(0.975, count + 1, total - count)) if count < total else 1.0
    return {"count": count, "share": round(count / total, 4), "interval": [round(low, 4), round(high, 4)]}


def told(finding: Mapping[str, Any]) -> str:
    return f"{finding['severity']} {finding['kind']} {finding['metric']} @{finding['onset']}"
