"""Columns of a log -> runs: phases, canonical names, derived ratios."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from rlhf_assert.ingest.algorithm import algorithm_by_start, algorithm_of
from rlhf_assert.ingest.table import Columns
from rlhf_assert.metrics import DERIVED, METRICS, canonical_name, key_priority, normalised
from rlhf_assert.recording.rows import Column, ColumnRows
from rlhf_assert.recording.run import Run
from rlhf_assert.recording.series import Series

MOST_PHASES = 10
SHARED_KEYS = 0.5
"""Two stretches of a log are phases if fewer than this share of their canonical metrics are common to both."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a reader knows about a log beside its records.

    Attributes:
        format: `jsonl`, `csv`, `trainer_state`, `json`, `console` or `tensorboard`.
        dropped: lines that were cut off or no record.
    """

    format: str
    dropped: int = 0


def runs_of(path: Path, columns: Columns, source: Source) -> list[Run]:
    """Return one run, or one for each phase that the log unmistakably has.

    A phase begins where epochs or steps go back *and* the metrics change, as when GRPO follows SFT in one file. A
    resume, where they go back and the metrics stay, is no phase.
    """
    edges = [0, *_phase_starts(columns), len(columns.steps)]
    runs = []
    for number, (start, stop) in enumerate(pairwise(edges), start=1):
        part = {key: column.between(start, stop) for key, column in columns.columns.items()}
        part = {key: column for key, column in part.items() if len(column)}
        phase = (number, len(edges) - 1) if len(edges) > 2 else None
        runs.append(_run(path, columns, part, slice(start, stop), source, phase))
    return runs


def _run(
    path: Path,
    log: Columns,
    columns: Mapping[str, Column],
    extent: slice,
    source: Source,
    phase: tuple[int, int] | None,
) -> Run:
    steps, epochs = log.steps[extent], log.epochs[extent]
    canonical = _canonical(columns, len(steps))
    info: dict[str, Any] = {
        "status": "completed",
        "started": 0.0,
        "algorithm": algorithm_of(columns) or algorithm_by_start(canonical),
        "log": source.format,
        "rows": len(steps),
        "step_key": log.step_key,
        "keys_left_out": log.keys_left_out,
        "words": list(log.words),
        "phase": list(phase) if phase else None,
    }
    return Run(
        path=path,
        info=info,
        rows=_rows(steps, epochs, canonical),
        series={name: _series(name, column, steps) for name, column in canonical.items()},
        original={key: _series(key, column, steps) for key, column in columns.items()},
        unmapped=tuple(sorted(key for key in columns if canonical_name(key) is None)),
        events=(),
        torn_lines=source.dropped,
    )


def _canonical(columns: Mapping[str, Column], rows: int) -> dict[str, Column]:
    """Return the columns by canonical name, in the order of the canonical table, derived ratios included."""
    by_name: dict[str, list[str]] = {}
    for key in sorted(columns, key=key_priority):
        if (name := canonical_name(key)) is not None:
            by_name.setdefault(name, []).append(key)
    canonical = {
        name: _merged([_upright(key, columns[key]) for key in by_name[name]], rows)
        for name in METRICS
        if name in by_name
    }
    for name, (numerator, denominator) in DERIVED.items():
        below = canonical.get(denominator) or (canonical.get("loss") if denominator == "policy_loss" else None)
        above = canonical.get(numerator)
        if name not in canonical and above is not None and below is not None:
            ratio = _ratio(above, below)
            if len(ratio):
                canonical[name] = ratio
    return canonical


def _merged(columns: list[Column], rows: int) -> Column:
    """Return one column of several that mean the same; where a row holds more than one, the first wins."""
    if len(columns) == 1:
        return columns[0]
    held, null, values = np.zeros(rows, dtype=bool), np.zeros(rows, dtype=bool), np.empty(rows)
    for column in reversed(columns):
        held[column.rows] = True
        null[column.rows] = False
        null[column.nulls] = True
        values[column.rows] = column.values
    held_rows = np.flatnonzero(held)
    return Column(held_rows.astype(np.int32), values[held_rows], np.flatnonzero(null).astype(np.int32))


def _upright(key: str, column: Column) -> Column:
    """Return the column, its sign turned where it is an entropy *loss* in the sense of stable-baselines3.

    The entropy over tokens is never negative, so a column without a positive value is the negated one.
    """
    if not normalised(key).endswith("entropy_loss"):
        return column
    finite = column.values[np.isfinite(column.values)]
    if not len(finite) or finite.max() > 0.0 or finite.min() == 0.0:
        return column
    return Column(column.rows, -column.values, column.nulls)


def _ratio(above: Column, below: Column) -> Column:
    rows, first, second = np.intersect1d(above.rows, below.rows, assume_unique=True, return_indices=True)
    numerator, denominator = above.values[first], below.values[second]
    null = np.isin(rows, above.nulls) | np.isin(rows, below.nulls)
    kept = (denominator != 0.0) & ~null
    with np.errstate(all="ignore"):
        values = numerator[kept] / denominator[kept]
    return Column(rows[kept], values, np.empty(0, dtype=np.int32))


def _rows(steps: Any, epochs: Any, canonical: Mapping[str, Column]) -> ColumnRows:
    """Return the rows that hold a canonical metric: a row of evaluation is none of the training's."""
    held = np.zeros(len(steps), dtype=bool)
    for column in canonical.values():
        held[column.rows] = True
    if held.all():
        return ColumnRows(steps, epochs, canonical)
    place = (np.cumsum(held) - 1).astype(np.int32)
    moved = {name: Column(place[one.rows], one.values, place[one.nulls]) for name, one in canonical.items()}
    return ColumnRows(steps[held], epochs[held], moved)


def _series(name: str, column: Column, steps: Any) -> Series:
    return Series(name, steps if len(column) == len(steps) else steps[column.rows], column.values)


def _phase_starts(log: Columns) -> list[int]:
    with np.errstate(invalid="ignore"):
        back = (np.diff(log.steps) < 0) | (np.diff(log.epochs) < 0)
    candidates = (np.flatnonzero(back) + 1).tolist()
    if len(candidates) > 1000:  # steps that count within an epoch, not phases
        return []
    starts: list[int] = []
    begin = 0
    for index, at in enumerate(candidates):
        stop = candidates[index + 1] if index + 1 < len(candidates) else len(log.steps)
        before, after = _names(log, begin, at), _names(log, at, stop)
        if before and after and len(before & after) < SHARED_KEYS * len(before | after):
            starts.append(at)
            begin = at
    return starts if len(starts) < MOST_PHASES else []


def _names(log: Columns, start: int, stop: int) -> set[str]:
    return {
        name
        for key, column in log.columns.items()
        if (name := canonical_name(key)) and np.searchsorted(column.rows, start) < np.searchsorted(column.rows, stop)
    }
