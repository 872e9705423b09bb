"""A recorded run, and how a run directory is read."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
import psutil
from numpy.typing import NDArray

from rlhf_assert.errors import NotRecorded, UnreadableRun, suggest
from rlhf_assert.metrics import METRICS, canonical_name
from rlhf_assert.recording.encoding import decode_number
from rlhf_assert.recording.events import Event, Unreadable, decode_event
from rlhf_assert.recording.recorder import FORMAT
from rlhf_assert.recording.rows import ColumnRows
from rlhf_assert.recording.rows import Row as Row  # noqa: PLC0414 - `rlhf_assert.recording.run.Row` is its public place
from rlhf_assert.recording.series import FloatArray, IntArray, Series
from rlhf_assert.training.faults import Fault, decode_fault

E = TypeVar("E", bound=Event)

BESIDE = ("actors/", "engine/", "optimizer/", "packing/", "rollout/", "timing/")
"""The beginnings of what is recorded of a distributed training beside its metrics, which have no canonical name."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Per-sample records, a column each, all of shape (n,); NaN (or "") where the trainer did not tell.

    Attributes:
        step: the step whose batch the sample belongs to.
        prompt: hash of the prompt; samples of one group share it.
        length: completion length in tokens.
        truncated: 1 if the completion was cut off, else 0.
        reward: the total reward.
        rewards: the reward by function name.
        advantage: the advantage (for PPO the mean over tokens).
        value: the critic's estimate, the mean over tokens.
        returns: what the critic is to estimate (`return` in samples.jsonl), the mean over tokens.
        logprob: mean log-probability per token under the policy, in nats.
        ref_logprob: the same under the reference.
        text: the start of the completion.
    """

    step: IntArray
    prompt: NDArray[np.str_]
    length: FloatArray
    truncated: FloatArray
    reward: FloatArray
    rewards: Mapping[str, FloatArray]
    advantage: FloatArray
    value: FloatArray
    returns: FloatArray
    logprob: FloatArray
    ref_logprob: FloatArray
    text: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.step)


@dataclass(frozen=True, eq=False)
class Run:
    """What a training left on disk.

    Attributes:
        path: the run directory.
        info: `run.json` as it stands, `status` corrected if the process died without a word.
        rows: the logged rows in order.
        series: canonical name -> series.
        original: the framework's own key -> series, mapped or not.
        unmapped: the keys that no alias table knows, without those that are recorded `BESIDE`.
        events: what happened, in order; see `rlhf_assert.recording.events`. `events_of` gives those of one kind.
        torn_lines: lines that were incomplete or no JSON, and dropped.
    """

    path: Path
    info: Mapping[str, Any]
    rows: Sequence[Row]
    series: Mapping[str, Series]
    original: Mapping[str, Series]
    unmapped: tuple[str, ...]
    events: tuple[Event, ...]
    torn_lines: int = 0

    def __repr__(self) -> str:
        return (
            f"<Run {self.scenario} seed {self.seed}: {self.status} after {self.steps} steps, "
            f"{len(self.series)} metrics, {self.path}>"
        )

    def __getitem__(self, name: str) -> Series:
        series = self.series.get(name) or self.original.get(name)
        if series is None:
            raise NotRecorded(self._why_not_recorded(name))
        return series

    def _why_not_recorded(self, name: str) -> str:
        if self.error is not None:  # what ended the training says more than a missing name
            said = (str(self.error.get("message") or "").splitlines() or [""])[0]
            ended = f"{self.status} after {self.steps} steps: {self.error.get('type')}: {said}"
            return f"{name} was not recorded in {self.path}: the training {ended}"
        return f"{name} was not recorded in {self.path}{suggest(name, [*self.series, *self.original])}"

    def __contains__(self, name: object) -> bool:
        return name in self.series or name in self.original

    @property
    def scenario(self) -> str:
        """Name of the scenario; the folder's name for a run that no scenario made."""
        return str(self.info.get("scenario") or self.path.name)

    @property
    def algorithm(self) -> str:
        """The algorithm, for example `grpo`; empty if it is unknown."""
        return str(self.info.get("algorithm") or "")

    @property
    def fault(self) -> Fault | None:
        """What was broken in this training on purpose, or None."""
        return decode_fault(self.info.get("fault"))

    @property
    def title(self) -> str:
        """What reports call the run: its scenario, and the fault in it if there is one."""
        return f"{self.scenario} + {self.fault}" if self.fault else self.scenario

    @property
    def seed(self) -> int | None:
        """The scenario's seed, or None."""
        return self.info.get("seed")

    @property
    def status(self) -> str:
        """`running`, `completed`, `stopped`, `crashed` or `timeout`."""
        return str(self.info["status"])

    @property
    def steps(self) -> int:
        """The last step that was logged; 0 if none was."""
        return self.extent[1]

    @cached_property
    def extent(self) -> tuple[int, int]:
        """The lowest and the highest step that was logged; 0 and 0 if none was."""
        if isinstance(self.rows, ColumnRows):
            return (int(self.rows.steps.min()), int(self.rows.steps.max())) if len(self.rows) else (0, 0)
        steps = [row.step for row in self.rows]
        return min(steps, default=0), max(steps, default=0)

    @property
    def config(self) -> Mapping[str, Any]:
        """The trainer's hyper-parameters, as far as they were recorded."""
        return self.info.get("config") or {}

    @property
    def promised(self) -> tuple[str, ...]:
        """Canonical names of the metrics that the trainer must log."""
        return tuple(self.info.get("promised") or ())

    @property
    def error(self) -> Mapping[str, str] | None:
        """`type`, `message` and `traceback` of what ended the run, or None."""
        return self.info.get("error")

    @property
    def seconds(self) -> float:
        """Wall-clock seconds between the start and the end (or the last row) of the run."""
        return float(self.info.get("finished", self.info["started"])) - float(self.info["started"])

    def events_of(self, kind: type[E]) -> tuple[E, ...]:
        """Return the events of one kind in order, for example `run.events_of(Update)`."""
        events: Any = self._events_by_kind.get(kind, ())  # by exact type, so all of them are of kind E
        return tuple(events)

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """The events whose fields are not of their types; each names its event and the field."""
        return self.events_of(Unreadable)

    @cached_property
    def _events_by_kind(self) -> Mapping[type[Event], list[Event]]:
        by_kind: dict[type[Event], list[Event]] = {}
        for event in self.events:
            by_kind.setdefault(type(event), []).append(event)
        return by_kind

    @cached_property
    def checkpoints(self) -> tuple[Path, ...]:
        """The checkpoint folders in the order of their steps, the step-0 weights (`initial_weights`) left out."""
        folders = [path for path in (self.path / "checkpoints").glob("checkpoint-*") if path.name[11:].isdigit()]
        return tuple(sorted(folders, key=lambda path: int(path.name[11:])))

    @cached_property
    def samples(self) -> Samples:
        """The per-sample records."""
        return read_samples(self.path / "samples.jsonl")

    @cached_property
    def resources(self) -> tuple[Mapping[str, Any], ...]:
        """The resource samples of all ranks, in order of time."""
        files = sorted(self.path.glob("resources*.jsonl"))
        samples = [record for file in files for record in _lines(file) if record is not None]
        return tuple(sorted(samples, key=lambda record: record.get("time", 0.0)))


def read_run(path: str | os.PathLike[str]) -> Run:
    """Read a run directory, finished or not; a torn last line is dropped and counted.

    Raises:
        UnreadableRun: `path` is no run directory, or one of a newer format.
    """
    folder = Path(path)
    info = read_info(folder)
    rows: list[Row] = []
    columns: dict[str, tuple[list[int], list[float]]] = {}
    originals: dict[str, tuple[list[int], list[float]]] = {}
    torn = 0
    for record in _lines(folder / "metrics.jsonl"):
        if record is None or not _is_row(record):
            torn += 1
            continue
        step = record["step"]
        metrics = {name: decode_number(value) for name, value in (record.get("metrics") or {}).items()}
        rows.append(Row(step, record.get("epoch"), metrics))
        for name, value in metrics.items():
            _append(columns, name, step, value)
        for key, text in (record.get("original") or {}).items():
            value = decode_number(text)
            if value is not None or text is None:
                _append(originals, key, step, value)
    events = []
    for record in _lines(folder / "events.jsonl"):
        if record is None:
            torn += 1
        else:
            events.append(decode_event(record))
    return Run(
        path=folder,
        info=info,
        rows=tuple(rows),
        series={name: _series(name, *column) for name, column in columns.items()},
        original={key: _series(key, *column) for key, column in originals.items()},
        unmapped=tuple(sorted(key for key in originals if canonical_name(key) is None and not key.startswith(BESIDE))),
        events=tuple(events),
        torn_lines=torn,
    )


def read_samples(file: Path) -> Samples:
    """Read per-sample records, one JSON object a line; a torn line is dropped."""
    return _samples([record for record in _lines(file) if record is not None])


def read_info(folder: Path) -> dict[str, Any]:
    """Read `run.json`; a run that is still `running` though its process is gone counts as crashed.

    Raises:
        UnreadableRun: no readable `run.json`, or one of a newer format.
    """
    file = folder / "run.json"
    try:
        info = orjson.loads(file.read_bytes())
    except FileNotFoundError:
        raise UnreadableRun(f"{folder}: not a run directory: it has no run.json") from None
    except OSError as error:
        raise UnreadableRun(f"{file}: cannot be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise UnreadableRun(f"{file}: not JSON: {error}") from None
    if not isinstance(info, dict) or not isinstance(info.get("format"), int):
        raise UnreadableRun(f"{file}: no format number: this is not a run directory of rlhf-assert")
    if info["format"] > FORMAT:
        raise UnreadableRun(
            f"{file}: format {info['format']}, but this rlhf-assert reads up to {FORMAT}: pip install -U rlhf-assert"
        )
    info.setdefault("status", "running")
    info.setdefault("started", 0.0)
    if info["status"] == "running" and info.get("host") == socket.gethostname() and not _alive(info):
        info["status"] = "crashed"
        info.setdefault(
            "error",
            {"type": "ProcessDied", "message": "the training process ended without a word", "traceback": ""},
        )
    return info


def _alive(info: Mapping[str, Any]) -> bool:
    try:
        process = psutil.Process(int(info["pid"]))
        # A later process may have inherited the number of one that died.
        return bool(process.create_time() <= float(info["started"]) + 1.0 and process.status() != psutil.STATUS_ZOMBIE)
    except (psutil.Error, KeyError, ValueError, TypeError):
        return False


def _lines(file: Path) -> Iterator[dict[str, Any] | None]:
    """Yield the records of a JSONL file, with None for a line that is torn; nothing if there is no file."""
    if not file.is_file():  # absent, or a device or pipe, which might never end
        return
    with file.open("rb") as stream:
        for line in stream:
            try:
                record = orjson.loads(line) if line.endswith(b"\n") else None
            except orjson.JSONDecodeError:
                record = None
            yield record if isinstance(record, dict) else None


def _is_row(record: Mapping[str, Any]) -> bool:
    parts = (record.get("metrics"), record.get("original"))
    return isinstance(record.get("step"), int) and all(part is None or isinstance(part, dict) for part in parts)


def _append(columns: dict[str, tuple[list[int], list[float]]], name: str, step: int, value: float | None) -> None:
    steps, values = columns.setdefault(name, ([], []))
    steps.append(step)
    values.append(float("nan") if value is None else value)


def _series(name: str, steps: list[int], values: list[float]) -> Series:
    return Series(name, np.asarray(steps, dtype=np.int64), np.asarray(values, dtype=np.float64))


def _samples(records: list[dict[str, Any]]) -> Samples:
    def column(name: str, within: str | None = None) -> FloatArray:
        sources = records if within is None else [record.get(within) or {} for record in records]
        values = [decode_number(source.get(name)) for source in sources]
        return np.asarray([float("nan") if value is None else value for value in values], dtype=np.float64)

    functions = dict.fromkeys(name for record in records for name in record.get("rewards") or {})
    return Samples(
        step=np.asarray([int(record.get("step") or 0) for record in records], dtype=np.int64),
        prompt=np.asarray([str(record.get("prompt") or "") for record in records], dtype=np.str_),
        length=column("length"),
        truncated=column("truncated"),
        reward=column("reward"),
        rewards={name: column(name, "rewards") for name in functions},
        advantage=column("advantage"),
        value=column("value"),
        returns=column("return"),
        logprob=column("logprob"),
        ref_logprob=column("ref_logprob"),
        text=tuple(str(record.get("text") or "") for record in records),
    )


def ordered(series: Mapping[str, Series]) -> list[str]:
    """Return the names of `series` in the order of the canonical table, unknown names last."""
    known = {name: rank for rank, name in enumerate(METRICS)}
    return sorted(series, key=lambda name: (known.get(name, len(known)), name))
