"""Anomalies planted in logs, with a record of what was planted where."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from rlhf_assert.recording.rows import Row
from rlhf_assert.recording.series import FloatArray, Series
from rlhf_assert.testing.synthetic.log import Log, cells, column

Kind = Literal[
    "spike",
    "shift",
    "drift",
    "collapse",
    "explosion",
    "oscillation",
    "saturation",
    "freeze",
    "mis-scaled",
    "nan",
    "infinity",
    "null",
    "missing",
    "duplicated-steps",
    "backward-steps",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What to plant, wherever that will be.

    - `spike`, `shift`: `magnitude` spreads are added.
    - `drift`: the same, growing evenly from row to row and whole at the last; `explosion`: growing by a constant factor
      of 1.1 to 2 a row, as fast as the rows allow.
    - `collapse`: the level moves by `magnitude` spreads and 95 % of the noise is gone.
    - `oscillation`: `magnitude` spreads are added and taken away in turn.
    - `saturation`: exactly at the level plus `magnitude` spreads; `freeze`: exactly at the last value before.
    - `mis-scaled`: multiplied by `magnitude`.
    - `nan`, `infinity` (of the sign of `magnitude`), `null`, `missing` (the row lacks the metric).
    - `duplicated-steps`: each row is logged twice; `backward-steps`: the rest of the log begins again that many rows
      earlier, as a resumed training does. These two concern whole rows.

    Attributes:
        kind: one of the above.
        magnitude: in spreads (see `Planted.spread`), but for `mis-scaled`, where it is a factor.
        rows: how many rows it lasts; None means to the end.
        metric: the metric; empty means the first of the log.
    """

    kind: Kind
    magnitude: float = 0.0
    rows: int | None = None
    metric: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """What was planted, and where.

    Attributes:
        kind: see `Change`.
        metric: the metric, empty where whole rows are concerned.
        row: index of the first row concerned.
        onset: step of that row (as it stood before the change).
        rows: number of rows concerned.
        magnitude: see `Change`.
        spread: standard deviation of the metric's finite values around their straight line before the change; a tenth
            of their median, or else 1, where they have none.
    """

    kind: Kind
    metric: str
    row: int
    onset: int
    rows: int
    magnitude: float
    spread: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomalous:
    """A log in which something was planted.

    Attributes:
        log: the rows.
        clean: the rows as they were before.
        planted: what was planted, in this order.
    """

    log: Log
    clean: Log
    planted: tuple[Planted, ...]

    @property
    def series(self) -> Series:
        """The metric in which something was planted first."""
        return column(self.log, self.planted[0].metric or first_metric(self.log))


def first_metric(log: Log) -> str:
    """Return the first metric that a log names, empty if none."""
    return next((metric for row in log for metric in row.metrics), "")


def plant(log: Log, change: Change, row: int) -> tuple[Log, Planted]:
    """Plant a change in a log from a row on.

    Values that are null, not finite or not there stay as they are, but for the kinds that remove values.

    Args:
        log: at least `row` + 1 rows.
        change: what to plant.
        row: index of the first row concerned.

    Raises:
        IndexError: the log has no such row.
    """
    if not 0 <= row < len(log):
        raise IndexError(f"row {row} of a log of {len(log)} rows: nothing can be planted there")
    stop = len(log) if change.rows is None else min(row + change.rows, len(log))
    metric = change.metric or first_metric(log)
    values = cells(log, metric)
    spread = spread_of(values)
    whole = change.kind in _STEPS
    planted = Planted(
        kind=change.kind,
        metric="" if whole else metric,
        row=row,
        onset=log[row].step,
        rows=stop - row,
        magnitude=change.magnitude,
        spread=spread,
    )
    if whole:
        return _STEPS[change.kind](log, row, stop), planted
    if change.kind in REMOVED:
        return tuple(_without(at, change, metric) if row <= i < stop else at for i, at in enumerate(log)), planted
    with np.errstate(over="ignore"):
        changed = _changed(change, values[row:stop], values[:row][np.isfinite(values[:row])], spread)
    new = dict(zip(range(row, stop), changed.tolist(), strict=True))
    return tuple(
        Row(at.step, at.epoch, {**at.metrics, metric: new[i]}) if i in new and math.isfinite(values[i]) else at
        for i, at in enumerate(log)
    ), planted


def spread_of(values: FloatArray) -> float:
    """Return the spread of values, shape (n,), as `Planted` defines it; always finite and above 0."""
    kept = values[np.isfinite(values)]
    if len(kept) > 2:
        places = np.arange(len(kept)) - 0.5 * (len(kept) - 1)
        with np.errstate(all="ignore"):
            rest = kept - kept.mean() - places * (places @ kept) / (places @ places)
            spread = float(rest.std())
        if math.isfinite(spread) and spread > 1e-9 * float(np.abs(kept).max()):
            return spread
    level = abs(float(np.median(kept))) if len(kept) else 0.0
    return 0.1 * level or 1.0


def _changed(change: Change, values: FloatArray, before: FloatArray, spread: float) -> FloatArray:
    """Return the changed values of the rows concerned; `before` are the finite values of the rows before."""
    count, amount = len(values), change.magnitude * spread
    level = float(np.median(before)) if len(before) else float(np.nan_to_num(values[0]))
    match change.kind:
        case "spike" | "shift":
            return values + amount
        case "drift":
            return values + amount * np.arange(1, count + 1) / count
        case "explosion":
            growth = min(2.0, max(1.1, 1000.0 ** (1.0 / count)))
            return np.asarray(values + amount * growth ** np.arange(1.0 - count, 1.0))
        case "oscillation":
            return np.asarray(values + amount * (-1.0) ** np.arange(count))
        case "collapse":
            return level + amount + 0.05 * (values - level)
        case "saturation":
            return np.full(count, level + amount)
        case "freeze":
            return np.full(count, before[-1] if len(before) else level)
        case "mis-scaled":
            return change.magnitude * values
    raise AssertionError(change.kind)


REMOVED = frozenset({"nan", "infinity", "null", "missing"})
"""Kinds that take the values away."""


def _without(row: Row, change: Change, metric: str) -> Row:
    if metric not in row.metrics:
        return row
    metrics = dict(row.metrics)
    if change.kind == "missing":
        del metrics[metric]
    elif change.kind == "null":
        metrics[metric] = None
    else:
        metrics[metric] = math.nan if change.kind == "nan" else math.copysign(math.inf, change.magnitude)
    return Row(row.step, row.epoch, metrics)


def _duplicated(log: Log, start: int, stop: int) -> Log:
    return tuple(row for i, one in enumerate(log) for row in ([one, one] if start <= i < stop else [one]))


def _backward(log: Log, start: int, stop: int) -> Log:
    back = log[start].step - log[max(0, 2 * start - stop)].step
    if not back:  # nothing was logged before
        back = (stop - start) * min((after.step - before.step for before, after in pairwise(log)), default=1)
    return tuple(Row(row.step - back, row.epoch, row.metrics) if i >= start else row for i, row in enumerate(log))


_STEPS: dict[Kind, Callable[[Log, int, int], Log]] = {
    "duplicated-steps": _duplicated,
    "backward-steps": _backward,
}
