"""Records in the order of a log, gathered as columns."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice, repeat
from typing import Any

import numpy as np

from rlhf_assert.ingest.values import NO_NUMBER, number_of
from rlhf_assert.metrics import canonical_name, is_known, normalised
from rlhf_assert.recording.rows import Column
from rlhf_assert.recording.series import FloatArray, IntArray

MAX_KEYS = 10_000
"""Distinct keys that are kept; of those beyond, only the ones that an alias table knows."""

MOST_COUNTED = 100 * MAX_KEYS

STEP_KEYS = (
    "step",
    "global_step",
    "train/global_step",
    "trainer/global_step",
    "training/global_step",
    "_step",
    "steps",
    "train_step",
    "training_step",
    "iteration",
    "iter",
    "update",
    "time/iterations",
    "time/total_timesteps",
)
"""Keys that number the rows, the one to trust first; the first of these that a log has is its step."""

EPOCH_KEYS = frozenset({"epoch", "train/epoch"})
SUMMARY_KEYS = frozenset({"train_runtime", "train/train_runtime"})
"""A record with one of these sums up the whole training: it is no step."""

BATCH = 4096
_LARGEST_STEP = 2**53


@dataclass(slots=True)
class _Open:
    """A column that still grows; `add_row` and `add_value` are bound once, because each value calls them."""

    rows: array[int] = field(default_factory=lambda: array("i"))
    values: array[float] = field(default_factory=lambda: array("d"))
    nulls: array[int] = field(default_factory=lambda: array("i"))
    add_row: Callable[[int], None] = field(init=False)
    add_value: Callable[[float], None] = field(init=False)

    def __post_init__(self) -> None:
        self.add_row, self.add_value = self.rows.append, self.values.append

    def extend_slowly(self, rows: Iterable[int], values: Iterable[Any]) -> None:
        """Add values that are not all floats, whose rows are added already; what is no number counts as null."""
        for row, value in zip(rows, values, strict=True):
            number = number_of(value)
            if isinstance(number, float):
                self.add_value(number)
            else:
                self.nulls.append(row)
                self.add_value(float("nan"))


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """A log as columns.

    Attributes:
        steps: shape (n,), the step of each row; the row's number, from 1, where the log has none.
        epochs: shape (n,), NaN where the row tells none.
        columns: original key -> column.
        step_key: the key that gave the steps; "" if they are the order of the rows.
        keys_left_out: distinct keys past `MAX_KEYS`.
        words: keys that only ever held text.
    """

    steps: IntArray
    epochs: FloatArray
    columns: Mapping[str, Column]
    step_key: str
    keys_left_out: int
    words: tuple[str, ...]


class Table:
    """Takes the records of a log, in order, and keeps their numbers as columns.

    Records that follow one another, carry the same step and share no key are one row: some loggers write a step's
    metrics in several pieces. Records with the same step and the same key (micro-batches) are rows of their own.
    """

    def __init__(self) -> None:
        self._columns: dict[str, _Open | None] = {}
        self._steps = array("q")
        self._epochs = array("d")
        self._step_key = ""
        self._settled = False
        self._epoch_keys: set[str] = set()
        self._row_keys: Collection[str] = ()
        self._left_out: set[int] = set()
        self._kept = 0
        self._words: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._steps)

    def extend(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Take the records of a log; those that follow one another with the same keys go column by column."""
        for keys, alike in groupby(records, key=tuple):
            for first in islice(alike, 1):
                self.add(first)
            while batch := list(islice(alike, BATCH)):
                if not self._add_alike(keys, batch):
                    for record in batch:
                        self.add(record)

    def add(self, record: Mapping[str, Any]) -> None:
        """Take one record; nested ones are flattened with slashes."""
        record = self._prepared(record)
        if not record or not SUMMARY_KEYS.isdisjoint(record):
            return
        row = self._row(record)
        columns = self._columns
        for key, value in record.items():
            number = value
            if type(value) is not float:
                number = number_of(value)
                if number is NO_NUMBER:
                    if key not in columns and len(self._words) < MAX_KEYS:
                        self._words[key] = None
                    continue
            try:
                column = columns[key]
            except KeyError:
                column = self._admit(key)
            if column is None:
                continue
            column.add_row(row)
            if number is None:
                column.nulls.append(row)
                number = float("nan")
            column.add_value(number)

    def _add_alike(self, keys: tuple[str, ...], batch: Sequence[Mapping[str, Any]]) -> bool:
        """Take records that have the keys of the last one taken; return False if that takes a look at each."""
        columns = dict(zip(keys, zip(*[record.values() for record in batch], strict=True), strict=True))
        kinds = {key: set(map(type, column)) for key, column in columns.items()}
        metrics = {key: self._columns.get(key) for key in keys if key != self._step_key and key not in self._epoch_keys}
        if not self._settled or not metrics or None in metrics.values() or not SUMMARY_KEYS.isdisjoint(keys):
            return False
        if any(dict in kind or str in kind for kind in kinds.values()):
            return False
        steps: Iterable[int] = range(self._steps[-1] + 1, self._steps[-1] + 1 + len(batch))
        if self._step_key:
            steps = columns.get(self._step_key, ())
            if kinds.get(self._step_key) != {int} or not (_is_step(min(steps)) and _is_step(max(steps))):
                return False
        elif not _is_row(batch[0]):
            return False
        rows = array("i", range(len(self._steps), len(self._steps) + len(batch)))
        self._steps.extend(array("q", steps))
        self._epochs.extend(map(self._epoch_of, batch) if self._epoch_keys else repeat(float("nan"), len(batch)))
        self._row_keys = keys
        for key, column in metrics.items():
            assert column is not None
            column.rows.extend(rows)
            if kinds[key] == {float}:
                column.values.extend(array("d", columns[key]))
            else:
                column.extend_slowly(rows, columns[key])
        return True

    def finish(self) -> Columns:
        """Return what was gathered."""
        columns = {
            key: Column(
                np.frombuffer(column.rows, dtype=np.int32),
                np.frombuffer(column.values, dtype=np.float64),
                np.frombuffer(column.nulls, dtype=np.int32),
            )
            for key, column in self._columns.items()
            if column is not None and len(column.rows)
        }
        return Columns(
            steps=np.frombuffer(self._steps, dtype=np.int64),
            epochs=np.frombuffer(self._epochs, dtype=np.float64),
            columns=_without_absent(columns),
            step_key=self._step_key,
            keys_left_out=len(self._left_out),
            words=tuple(key for key in self._words if key not in columns),
        )

    def _row(self, record: Mapping[str, Any]) -> int:
        """Return the row that a record belongs to: the last one, or a new one."""
        step = self._step_of(record)
        last = self._steps[-1] if self._steps else None
        if step is None:
            counts = last is None or (not self._step_key and _is_row(record))
            step = (last or 0) + 1 if counts or last is None else last
        if step == last and not any(
            key in self._row_keys for key in record if self._columns.get(key, self) is not None
        ):
            self._row_keys = {*self._row_keys, *record}
        else:
            self._steps.append(step)
            self._epochs.append(self._epoch_of(record))
            self._row_keys = record.keys()
        return len(self._steps) - 1

    def _step_of(self, record: Mapping[str, Any]) -> int | None:
        """Return the step that a record tells; the first record with a known metric settles which key it is."""
        if not self._settled:
            self._settled = _is_row(record)
            known = {normalised(key): key for key in record}
            for key in (known[name] for name in STEP_KEYS if name in known):
                if _as_step(record[key]) is not None:
                    self._settled, self._step_key = True, key
                    self._columns[key] = None
                    break
        value = record.get(self._step_key)
        return value if type(value) is int and _is_step(value) else _as_step(value)

    def _epoch_of(self, record: Mapping[str, Any]) -> float:
        for key in EPOCH_KEYS | self._epoch_keys:
            if key in record:
                number = number_of(record[key])
                return number if isinstance(number, float) else float("nan")
        return float("nan")

    def _prepared(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a record without nesting and of bounded length."""
        if dict in map(type, record.values()):
            record = flatten(record)
        return self._shortened(record) if len(record) > 2 * MAX_KEYS else record

    def _shortened(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return the first `MAX_KEYS` entries of a record that has far more, and those that name a known metric."""
        kept = {key: value for index, (key, value) in enumerate(record.items()) if index < MAX_KEYS or is_known(key)}
        self._left_out.update(hash(key) for key in islice(record.keys() - kept.keys(), MOST_COUNTED))
        return kept

    def _admit(self, key: str) -> _Open | None:
        if normalised(key) in EPOCH_KEYS:
            self._epoch_keys.add(key)
            self._columns[key] = None
            return None
        if self._kept >= MAX_KEYS and canonical_name(key) is None:
            if len(self._left_out) < MOST_COUNTED:
                self._left_out.add(hash(key))
            return None
        self._kept += 1
        column = self._columns[key] = _Open()
        return column


def flatten(record: Mapping[str, Any], prefix: str = "", depth: int = 4) -> dict[str, Any]:
    """Return a record without nesting: `{"data": {"kl": 1}}` as `{"kl": 1}`, other names joined with slashes."""
    flat: dict[str, Any] = {}
    for key, value in record.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and depth:
            inner = "" if not prefix and key in {"data", "metrics", "logs"} else f"{name}/"
            flat.update(flatten(value, inner, depth - 1))
        else:
            flat[name] = value
    return flat


def _without_absent(columns: dict[str, Column]) -> dict[str, Column]:
    """Return the columns, their nulls left out where null means `not logged on this row`.

    A trainer logs null for a mean over NaN; a table that was written out as JSON has null in every empty cell. The
    second kind gives itself away: the metrics of evaluation, which are not measured on every row, are null there.
    """
    rectangular = any(len(column.nulls) and key.startswith(("eval", "val", "test")) for key, column in columns.items())
    if not rectangular:
        return columns
    kept = {}
    for key, column in columns.items():
        held = ~np.isin(column.rows, column.nulls)
        if held.any():
            kept[key] = Column(column.rows[held], column.values[held], column.nulls[:0])
    return kept


def _is_row(record: Mapping[str, Any]) -> bool:
    """Return whether a record holds a metric that the alias tables know."""
    return any(canonical_name(key) for key in record)


def _is_step(value: int) -> bool:
    return -_LARGEST_STEP < value < _LARGEST_STEP


def _as_step(value: Any) -> int | None:
    number = number_of(value)
    if not isinstance(number, float) or not abs(number) < _LARGEST_STEP:
        return None
    return int(number)
