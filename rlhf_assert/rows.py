"""The logged rows of a run: as one record each, or as columns that look the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from rlhf_assert.record import Metrics
from rlhf_assert.series import FloatArray, IntArray

CHUNK = 4096
"""Rows that are turned into records at a time."""


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

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, index: int | slice) -> Row | tuple[Row, ...]:
        if isinstance(index, slice):
            return tuple(self[place] for place in range(*index.indices(len(self))))
        place = range(len(self))[index]
        return self._records(place, place + 1)[0]

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
