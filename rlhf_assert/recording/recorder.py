"""The append-only writer of a run directory (format 1).

A run directory holds `run.json` (what ran and how it ended) and four append-only JSONL files. Each line goes to the
kernel in one unbuffered write, so a process killed with SIGKILL loses no complete line.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

from rlhf_assert.errors import RecordingError
from rlhf_assert.metrics import DERIVED, canonical_name, key_priority
from rlhf_assert.recording.encoding import all_finite, as_number, dump_line, encode, encode_number, is_plain
from rlhf_assert.recording.events import Event, decode_event, encode_event
from rlhf_assert.recording.files import AppendOnlyFile, write_json

FORMAT = 1
RunStatus = Literal["running", "completed", "stopped", "crashed", "timeout"]
Metrics = dict[str, float | None]

_PLAIN = frozenset({float, int})


@dataclass(frozen=True, slots=True)
class _Plan:
    """How the keys of a row map to canonical names.

    Attributes:
        keys: by canonical name, the keys that map to it, the one that wins first.
        names: the canonical names.
        winners: takes the values of the winning keys from a row, in the order of `names`.
        derived: the ratios whose parts are among the names: (name, numerator, denominator).
    """

    keys: tuple[tuple[str, list[str]], ...]
    names: tuple[str, ...]
    winners: Callable[[Mapping[str, Any]], Iterable[Any]]
    derived: tuple[tuple[str, str, str], ...]


class Recorder:
    """Writes one run directory: metrics and samples from rank 0, resources from every rank.

    Args:
        path: the run directory; created if need be.
        rank: rank of this process; only rank 0 writes `run.json`, metrics, samples and events.

    Raises:
        RecordingError: the folder cannot be written, now or (full disk) at any later call.
    """

    def __init__(self, path: Path, *, rank: int = 0, **info: Any) -> None:
        self.path = path
        self.rank = rank
        self.monitor_seconds = 0.0
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._files: dict[str, AppendOnlyFile] = {}
        try:
            (path / "checkpoints").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecordingError(f"{path}: cannot create the run directory: {error.strerror}") from error
        self.info: dict[str, Any] = {
            "format": FORMAT,
            "id": path.name,
            "status": "running",
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": time.time(),
            **info,
        }
        self._write_info()

    def describe(self, **info: Any) -> None:
        """Add or replace fields of `run.json`."""
        self.info.update(info)
        self._write_info()

    def row(self, step: int, original: Mapping[str, Any], *, epoch: float | None = None) -> Metrics:
        """Append one row of metrics and return it by canonical name, derived ratios included.

        Args:
            step: the optimizer step that the row belongs to.
            original: the framework's own keys and values; a value that is no number is kept as text.
            epoch: the epoch, where the framework knows it.
        """
        kept: dict[str, float | str | None]
        if _PLAIN.issuperset(map(type, original.values())):
            kept = dict(original)
        else:
            kept = {key: value if type(value) is float else as_number(value) for key, value in original.items()}
        keys = tuple(kept)
        plan = self._plans.get(keys)
        if plan is None:
            plan = self._plan(keys)
        finite = all_finite(kept)
        if finite:  # nearly every row; it goes to disk as it stands
            metrics: Metrics = dict(zip(plan.names, plan.winners(kept), strict=True))
            for name, above, below in plan.derived:
                if metrics[below]:
                    metrics[name] = ratio = metrics[above] / metrics[below]  # type: ignore[operator]
                    finite = finite and ratio - ratio == 0.0
        else:
            metrics = _pick(plan.keys, kept)
            add_derived(metrics)
        line: dict[str, Any] = {"step": step, "time": time.time()}
        if epoch is not None:
            line["epoch"] = epoch
        if finite:
            line["metrics"], line["original"] = metrics, kept
        else:
            line["metrics"] = {name: encode_number(value) for name, value in metrics.items()}
            line["original"] = {key: encode_number(value) for key, value in kept.items()}
        if self.rank == 0:  # encoded already: `append` would walk the row a second time
            self._file("metrics").append(dump_line(line))
        return metrics

    def samples(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Append per-sample records; the fields are those of `run.Samples`."""
        lines = [dump_line(record) for record in map(encode, records)]
        if lines and self.rank == 0:
            self._file("samples").append(b"".join(lines))

    def event(self, event: Event | str, step: int | None = None, **fields: Any) -> None:
        """Append an event; its time is now, unless it brings its own."""
        if self.rank != 0:
            return
        if isinstance(event, str):
            event = decode_event({"event": event, "step": step, **fields})
        record = encode_event(event)
        if record.get("time") is None:
            record["time"] = time.time()
        self._file("events").append(dump_line(record if is_plain(record) else encode(record)))

    def resources(self, usage: Mapping[str, Any]) -> None:
        """Append one resource sample of this rank; ranks above 0 write `resources.rankN.jsonl`."""
        name = "resources" if self.rank == 0 else f"resources.rank{self.rank}"
        line = {"time": time.time(), "rank": self.rank, **usage}
        self._file(name).append(dump_line(encode(line)))

    def append(self, file: str, line: Mapping[str, Any]) -> None:
        """Append one line to `<file>.jsonl`; a rank above 0 writes nothing."""
        if self.rank == 0:
            self._file(file).append(dump_line(encode(line)))

    def finish(self, status: RunStatus, error: Mapping[str, str] | None = None) -> None:
        """Write how the run ended and close the files."""
        self.info.update(status=status, finished=time.time(), monitor_seconds=self.monitor_seconds)
        if error is not None:
            self.info["error"] = dict(error)
        try:
            self._write_info()
        finally:
            for file in self._files.values():
                file.close()
            self._files.clear()

    def _plan(self, keys: tuple[str, ...]) -> _Plan:
        """Return, by canonical name, the keys of a row that map to it, the one that wins first."""
        plan: dict[str, list[str]] = {}
        for key in sorted(keys, key=key_priority):
            if (name := canonical_name(key)) is not None:
                plan.setdefault(name, []).append(key)
        winners = [candidates[0] for candidates in plan.values()]
        take = itemgetter(*winners) if len(winners) > 1 else lambda row: tuple(row[key] for key in winners)
        made = _Plan(tuple(plan.items()), tuple(plan), take, tuple(_derivable(plan)))
        if len(self._plans) < 1000:  # a framework that invents a key at every step must not cost memory
            self._plans[keys] = made
        return made

    def _file(self, name: str) -> AppendOnlyFile:
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = AppendOnlyFile(self.path / f"{name}.jsonl")
        return file

    def _write_info(self) -> None:
        if self.rank == 0:
            write_json(self.path / "run.json", self.info)


def _pick(plan: tuple[tuple[str, list[str]], ...], kept: Mapping[str, float | str | None]) -> Metrics:
    """Return the canonical metrics of a row; text never wins over a key that holds a number or null."""
    metrics: Metrics = {}
    for name, keys in plan:
        for key in keys:
            value = kept[key]
            if not isinstance(value, str):
                metrics[name] = value
                break
    return metrics


def _derivable(names: Container[str]) -> Iterator[tuple[str, str, str]]:
    """Yield (name, numerator, denominator) of each ratio of `metrics.DERIVED` that a row of these metrics has."""
    for name, (numerator, denominator) in DERIVED.items():
        below = "loss" if denominator == "policy_loss" and denominator not in names else denominator
        if numerator in names and below in names and name not in names:
            yield name, numerator, below


def add_derived(metrics: Metrics) -> None:
    """Add the ratios of `metrics.DERIVED` whose two parts are in the row; 0/0 is NaN-free and left out."""
    for name, (numerator, denominator) in DERIVED.items():
        above = metrics.get(numerator)
        below = metrics.get(denominator, metrics.get("loss") if denominator == "policy_loss" else None)
        if above is not None and below is not None and below != 0.0:
            metrics[name] = above / below
