"""The curve of one metric of a run as the parts of a line: label, cells, first → last, unit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.metrics import METRICS, label
from rlhf_assert.numbers import number
from rlhf_assert.recording.encoding import decode_number
from rlhf_assert.recording.run import Run
from rlhf_assert.recording.series import Series
from rlhf_assert.report.sparkline import Axis, sparkline

BYTES_PER_MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class Curve:
    """One drawn metric.

    Attributes:
        label: the metric's short word.
        cells: the sparkline.
        ends: `first → last`, of the values as they were logged.
        notes: unit, and `log scale` where it is.
    """

    label: str
    cells: str
    ends: str
    notes: tuple[str, ...]


def axis_of(run: Run, cells: int) -> Axis:
    """Return the steps of a run as an axis."""
    return Axis(*run.extent, cells)


def draw(run: Run, metric: str, axis: Axis, *, ascii: bool = False) -> Curve | None:  # noqa: A002
    """Draw a metric, or return None if the run has none of that name.

    A metric of the resource samples, which know no step, is spread evenly over the cells.
    """
    series = recorded(run, metric)
    if series is None or not len(series):
        return None
    sampled = metric not in run
    drawn = sparkline(
        series.values,
        None if sampled else series.steps,
        axis=None if sampled else axis,
        cells=axis.cells,
        ascii=ascii,
    )
    unit = METRICS[metric].unit if metric in METRICS else ""
    scale = 1.0
    if unit == "bytes":
        scale, unit = BYTES_PER_MEGABYTE, "MB"
    arrow = "->" if ascii else "→"
    notes = (unit, "log scale" if drawn.log_scale else "")
    return Curve(
        label(metric),
        drawn.cells,
        f"{number(series.first / scale)} {arrow} {number(series.last / scale)}",
        tuple(note for note in notes if note),
    )


def recorded(run: Run, metric: str) -> Series | None:
    """Return a metric of the run's rows or, where those have none, of its resource samples (by their order)."""
    if metric in run:
        return run[metric]
    values = [value for sample in run.resources if (value := decode_number(sample.get(metric))) is not None]
    if not values:
        return None
    return Series(metric, np.arange(len(values), dtype=np.int64), np.asarray(values, dtype=np.float64))


def worst(anomalies: Iterable[Anomaly], metric: str) -> Severity | None:
    """Return the gravest severity of what was found in a metric, or None."""
    return max((anomaly.severity for anomaly in anomalies if anomaly.metric == metric), default=None)
