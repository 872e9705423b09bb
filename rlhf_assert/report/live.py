"""The line that shows how far a training is, read from the run directory that it is writing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from rlhf_assert.metrics import label
from rlhf_assert.numbers import number
from rlhf_assert.recording.encoding import decode_number

SHOWN = ("kl_div", "reward", "reward_margin", "reward_accuracy", "entropy", "loss")
"""The metrics that the line shows, in this order, as many as `MOST`."""
MOST = 3
_TAIL_BYTES = 65536


def progress_line(path: Path, scenario: str, steps: int, elapsed: float) -> str:
    """Return for example `trl-grpo  23/40  kl 0.021  reward 0.38  entropy 2.29  3.1 s, 2.3 s left`.

    Reads the first line and the end of `metrics.jsonl`, so its cost does not grow with the run.

    Args:
        path: the run directory, at any stage; it need not exist yet.
        scenario: name of the scenario.
        steps: the planned steps.
        elapsed: seconds since the training was asked for.
    """
    first, last = _ends(path / "metrics.jsonl")
    if first is None or last is None:
        return f"{scenario}  0/{steps}  starting  {seconds(elapsed)}"
    return format_progress(scenario, steps, first, last, elapsed)


def format_progress(
    scenario: str, steps: int, first: Mapping[str, Any], last: Mapping[str, Any], elapsed: float
) -> str:
    """Return the line from the first and the last record of `metrics.jsonl`.

    What is left is estimated from the pace between the two rows: the time before the first row is that of importing
    and building, and says nothing about the steps.
    """
    step = int(last["step"])
    metrics = last.get("metrics") or {}
    values = {name: value for name in SHOWN if (value := decode_number(metrics.get(name))) is not None}
    parts = [scenario, f"{step}/{steps}"]
    parts += [f"{label(name)} {number(value)}" for name, value in list(values.items())[:MOST]]
    time = seconds(elapsed)
    done = step - int(first["step"])
    if done > 0 and steps >= step:
        pace = (float(last.get("time", 0.0)) - float(first.get("time", 0.0))) / done
        time += f", {seconds(max(pace, 0.0) * (steps - step))} left"
    return "  ".join([*parts, time])


def seconds(value: float) -> str:
    """Return a duration: `5.4 s`, `3 min 05 s`, `2 h 07 min`."""
    if value < 59.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _ends(file: Path) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Return the first and the last complete record of a JSONL file that somebody writes, or None and None."""
    try:
        with file.open("rb") as stream:
            head = stream.readline()
            size = stream.seek(0, 2)
            stream.seek(max(0, size - _TAIL_BYTES))
            lines = stream.read().split(b"\n")[:-1]  # what follows the last newline is still being written
    except OSError:
        return None, None
    return _record(head), next((found for line in reversed(lines) if (found := _record(line))), None)


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("step"), int) else None
