"""Logs in memory: rows as a trainer writes them, one after the other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rlhf_assert.recording.recorder import Metrics
from rlhf_assert.recording.rows import Column, ColumnRows, Row
from rlhf_assert.recording.series import FloatArray, IntArray, Series

Log = tuple[Row, ...]
"""The rows of a log, in the order in which they were written."""


def log_of(source: Series | Log) -> Log:
    """Return the log that a series alone makes, NaN for NaN; a log is returned as it is."""
    if isinstance(source, tuple):
        return source
    return rows_from(source.steps, {source.name: source.values})


def rows_from(steps: IntArray, columns: Mapping[str, FloatArray]) -> Log:
    """Return the log of columns of shape (n,) that have a value in each row.

    Args:
        steps: shape (n,), the step of each row.
        columns: metric -> its values.
    """
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    return tuple(
        Row(step, None, dict(zip(columns, row, strict=True))) for step, row in zip(steps.tolist(), rows, strict=True)
    )


def column(log: Log, metric: str) -> Series:
    """Return one metric of a log as `read_run` would: rows without it left out, null as NaN."""
    steps = [row.step for row in log if metric in row.metrics]
    values = [_float(row.metrics, metric) for row in log if metric in row.metrics]
    return Series(metric, np.asarray(steps, dtype=np.int64), np.asarray(values, dtype=np.float64))


def as_columns(log: Log) -> ColumnRows:
    """Return the rows of a log held as columns, as logs that were read from files are; the epochs are left out."""
    columns = {}
    for metric in dict.fromkeys(metric for row in log for metric in row.metrics):
        rows = [index for index, row in enumerate(log) if metric in row.metrics]
        nulls = [index for index in rows if log[index].metrics[metric] is None]
        columns[metric] = Column(np.array(rows, np.int32), cells(log, metric)[rows], np.array(nulls, np.int32))
    steps = np.array([row.step for row in log], dtype=np.int64)
    return ColumnRows(steps, np.full(len(log), np.nan), columns)


def cells(log: Log, metric: str) -> FloatArray:
    """Return one metric in each row of a log, shape (n,): NaN where it is null or not there."""
    return np.asarray([_float(row.metrics, metric) for row in log], dtype=np.float64)


def _float(metrics: Metrics, metric: str) -> float:
    value = metrics.get(metric)
    return float("nan") if value is None else value
