"""A run as it stood when one of its steps had been logged: for what judges whole runs, when could it have told?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from rlhf_assert.recording.events import StepBegin, decode_event
from rlhf_assert.recording.files import write_json
from rlhf_assert.recording.run import Run, read_run


def prefix(run: Run, step: int, folder: Path) -> Run:
    """Write the run directory as it stood before step `step + 1` began, into `folder`, and read it.

    Rows, samples and events up to the step, checkpoints saved by then, resource samples taken by then. The status is
    `completed`, since what is asked is whether this much, had it been all, would have been found wanting.
    """
    folder.mkdir(parents=True)
    write_json(folder / "run.json", {**_without_end(run.info), "status": "completed", "steps": step})
    events = _before_next_step(_records(run.path / "events.jsonl"), step)
    for name in ("metrics.jsonl", "samples.jsonl"):
        _write(folder / name, [line for line in _records(run.path / name) if (line.get("step") or 0) <= step])
    _write(folder / "events.jsonl", events)
    times = [event.time for event in map(decode_event, events) if event.time is not None]
    moment = max(times, default=float("inf"))
    for file in run.path.glob("resources*.jsonl"):
        _write(folder / file.name, [line for line in _records(file) if float(line.get("time", 0.0)) <= moment])
    (folder / "checkpoints").mkdir()
    for entry in (run.path / "checkpoints").glob("*"):
        number = entry.name.removeprefix("checkpoint-")
        if not number.isdigit() or int(number) <= step:
            (folder / "checkpoints" / entry.name).symlink_to(entry.resolve())
    return read_run(folder)


def _without_end(info: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in info.items() if key not in {"error", "finished", "monitor_seconds"}}


def _before_next_step(records: Iterable[dict[str, Any]], step: int) -> list[dict[str, Any]]:
    kept = []
    for record in records:
        event = decode_event(record)
        number = event.step or 0
        if number > step or (isinstance(event, StepBegin) and number == step):
            break  # frameworks count a step at its end: `step_begin` of step + 1 still says `step`
        kept.append(record)
    return kept


def _records(file: Path) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for line in file.read_bytes().splitlines() if file.is_file() else ():
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue  # the torn last line of a killed training
        if isinstance(record, dict):
            records.append(record)
    return records


def _write(file: Path, records: Iterable[dict[str, Any]]) -> None:
    file.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
