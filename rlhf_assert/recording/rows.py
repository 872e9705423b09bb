"""The logged rows of a run: as one record each, or as columns that look the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import overload

import numpy as np
from numpy.typing import NDArray

from rlhf_assert.recording.recorder import Metrics
from rlhf_assert.recording.series import FloatArray, IntArray

CHUNK = 4096
"""Rows that are turned into records at a time."""

SHORTEST = 16
"""Rows below which a block costs more than it saves."""


@dataclass(frozen=True, slots=True)
class Row:
    """One logged row: its step, its epoch (None where unknown) and its metrics by canonical name."""

    step: int
    epoch: float | None
    metrics: Metrics


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One metric of a log.

    Attributes:
        rows: shape (n,), the rows that hold it, increasing.
        values: shape (n,), NaN where the log has null.
        nulls: the rows that hold null, increasing.
    """

    rows: NDArray[np.int32]
    values: FloatArray
    nulls: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.rows)

    def between(self, start: int, stop: int) -> Column:
        """Return the part of the rows `start` to `stop` (exclusive), counted from `start`."""
        edges = np.array((start, stop), dtype=np.int32)  # of the columns' type: another one would copy them
        first, last = np.searchsorted(self.rows, edges)
        low, high = np.searchsorted(self.nulls, edges)
        offset = np.int32(start)
        return Column(self.rows[first:last] - offset, self.values[first:last], self.nulls[low:high] - offset)


@dataclass(frozen=True, eq=False)
class Block:
    """Rows in succession that hold the same metrics, none of them for the first time, and every value finite.

    Attributes:
        steps: shape (n,), the step of each row; n is 1 or more.
        metrics: canonical name -> values of shape (n,).
    """

    steps: IntArray
    metrics: Mapping[str, FloatArray]

    def __len__(self) -> int:
        return len(self.steps)

    @cached_property
    def rows(self) -> list[tuple[int, Metrics]]:
        """The step and the metrics of each row."""
        return self.tail(len(self))

    def tail(self, count: int) -> list[tuple[int, Metrics]]:
        """Return the step and the metrics of the last `count` rows, or of all if there are fewer."""
        values = zip(*(column[-count:].tolist() for column in self.metrics.values()), strict=True)
        records = [dict(zip(self.metrics, row, strict=True)) for row in values]
        return list(zip(self.steps[-count:].tolist(), records, strict=True))


class ColumnRows(Sequence[Row]):
    """The rows of a run held as columns: a million rows of eight metrics take 100 MB, and as records 1.5 GB.

    Args:
        steps: shape (n,), the step of each row.
        epochs: shape (n,), NaN where unknown.
        columns: canonical name -> column.
    """

    def __init__(self, steps: IntArray, epochs: FloatArray, columns: Mapping[str, Column]) -> None:
        self.steps = steps
        self.epochs = epochs
        self.columns = columns

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Row]:
        for start in range(0, len(self), CHUNK):
            yield from self._records(start, min(start + CHUNK, len(self)))

    def parts(self, longest: int) -> Iterator[Row | Block]:
        """Yield the rows in order, in blocks of at most `longest` rows where the same metrics are finite.

        Single are rows that hold null or a non-finite number, those between which the metrics change, and the first
        with its set of metrics: what begins begins in a single row.
        """
        known: set[bytes] = set()
        for start in range(0, len(self), longest):
            held, values = self._table(start, min(start + longest, len(self)))
            whole = (np.isfinite(values) == held).all(axis=0) & held.any(axis=0)
            changed = (held[:, 1:] != held[:, :-1]).any(axis=0) | ~whole[1:] | ~whole[:-1]
            for first, end in pairwise([0, *(np.flatnonzero(changed) + 1).tolist(), len(whole)]):
                metrics, begin = held[:, first], first
                if whole[first] and metrics.tobytes() not in known:
                    known.add(metrics.tobytes())
                    begin += 1
                if not whole[first] or end - begin < SHORTEST:
                    begin = end
                yield from self._records(start + first, start + begin)
                if begin < end:
                    names = [name for name, has in zip(self.columns, metrics, strict=True) if has]
                    columns = dict(zip(names, values[metrics, begin:end], strict=True))
                    yield Block(self.steps[start + begin : start + end], columns)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, index: int | slice) -> Row | tuple[Row, ...]:
        if isinstance(index, slice):
            return tuple(self[place] for place in range(*index.indices(len(self))))
        place = range(len(self))[index]
        return self._records(place, place + 1)[0]

    def _table(self, start: int, stop: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Return which rows hold each column, and the values, NaN where there is none: shapes (columns, rows)."""
        held = np.zeros((len(self.columns), stop - start), dtype=bool)
        values = np.full(held.shape, np.nan)
        for place, column in enumerate(self.columns.values()):
            part = column.between(start, stop)
            held[place, part.rows] = True
            values[place, part.rows] = part.values
        return held, values

    def _records(self, start: int, stop: int) -> list[Row]:
        parts = {name: column.between(start, stop) for name, column in self.columns.items()}
        metrics: list[Metrics]
        if all(len(part) == stop - start and not len(part.nulls) for part in parts.values()):
            values = zip(*(part.values.tolist() for part in parts.values()), strict=True)
            metrics = [dict(zip(parts, row, strict=True)) for row in values]
        else:
            metrics = [{} for _ in range(stop - start)]
            for name, part in parts.items():
                for place, value in zip(part.rows.tolist(), part.values.tolist(), strict=True):
                    metrics[place][name] = value
                for place in part.nulls.tolist():
                    metrics[place][name] = None
        epochs = [None if epoch != epoch else epoch for epoch in self.epochs[start:stop].tolist()]  # noqa: PLR0124
        return list(map(Row, self.steps[start:stop].tolist(), epochs, metrics))
