"""Anomalies, and logs in which they are planted.

Of the arguments that most of them share, `magnitude` is a size in spreads (see `testing.synthetic.Planted`), or a
range of sizes; `rows` is how many rows it lasts, or a range, or None for all that are left; `metric` is the metric, by
default the first of the log; `direction` is the sign of the size.
"""

from __future__ import annotations

from typing import Literal

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from rlhf_assert.recording.series import Series
from rlhf_assert.testing.strategies.healthy import Range
from rlhf_assert.testing.synthetic import Anomalous, Change, Log, log_of, plant
from rlhf_assert.testing.synthetic.planted import Kind

Direction = Literal["up", "down", "either"]
Rows = tuple[int, int] | int | None
Healthy = SearchStrategy[Series | Log | Anomalous]


def _changes(
    kind: Kind, sizes: Range | float, rows: Rows, metric: str, direction: Direction = "up"
) -> SearchStrategy[Change]:
    signs = st.sampled_from({"up": (1.0,), "down": (-1.0,), "either": (1.0, -1.0)}[direction])
    size = st.floats(*sizes) if isinstance(sizes, tuple) else st.just(float(sizes))
    lasting = st.integers(*rows) if isinstance(rows, tuple) else st.just(rows)
    return st.builds(
        lambda sign, size, rows: Change(kind=kind, magnitude=sign * size, rows=rows, metric=metric),
        signs,
        size,
        lasting,
    )


def spike(
    magnitude: Range | float = (8.0, 40.0),
    *,
    rows: Rows = (1, 3),
    metric: str = "",
    direction: Direction = "either",
) -> SearchStrategy[Change]:
    """A few values far out."""
    return _changes("spike", magnitude, rows, metric, direction)


def shift(
    magnitude: Range | float = (3.0, 20.0),
    *,
    rows: Rows = None,
    metric: str = "",
    direction: Direction = "either",
) -> SearchStrategy[Change]:
    """A level that is left, for good or for a time."""
    return _changes("shift", magnitude, rows, metric, direction)


def drift(
    magnitude: Range | float = (5.0, 20.0),
    *,
    rows: Rows = None,
    metric: str = "",
    direction: Direction = "either",
) -> SearchStrategy[Change]:
    """A level that is left evenly, the whole size at the last row."""
    return _changes("drift", magnitude, rows, metric, direction)


def collapse(magnitude: Range | float = (5.0, 20.0), *, rows: Rows = None, metric: str = "") -> SearchStrategy[Change]:
    """A level that falls, and loses 95 % of its noise."""
    return _changes("collapse", magnitude, rows, metric, "down")


def explosion(
    magnitude: Range | float = (50.0, 1e6),
    *,
    rows: Rows = None,
    metric: str = "",
    direction: Direction = "up",
) -> SearchStrategy[Change]:
    """Growth by a constant factor a row, the whole size at the last row."""
    return _changes("explosion", magnitude, rows, metric, direction)


def oscillation(
    magnitude: Range | float = (5.0, 20.0), *, rows: Rows = None, metric: str = ""
) -> SearchStrategy[Change]:
    """A value that is too high and too low in turn."""
    return _changes("oscillation", magnitude, rows, metric)


def saturation(
    magnitude: Range | float = (3.0, 20.0),
    *,
    rows: Rows = None,
    metric: str = "",
    direction: Direction = "up",
) -> SearchStrategy[Change]:
    """A value that stands exactly at a bound, so far from its level."""
    return _changes("saturation", magnitude, rows, metric, direction)


def freeze(*, rows: Rows = None, metric: str = "") -> SearchStrategy[Change]:
    """A value that stands exactly where it was."""
    return _changes("freeze", 0.0, rows, metric)


def mis_scaled(
    factor: Range | float = (10.0, 1000.0), *, rows: Rows = None, metric: str = ""
) -> SearchStrategy[Change]:
    """A metric that is multiplied by a factor (0 and negative ones too), as by a change of units."""
    return _changes("mis-scaled", factor, rows, metric)


def nan_burst(*, rows: Rows = (1, 5), metric: str = "") -> SearchStrategy[Change]:
    """Values that are NaN."""
    return _changes("nan", 0.0, rows, metric)


def infinity_burst(*, rows: Rows = (1, 5), metric: str = "", direction: Direction = "either") -> SearchStrategy[Change]:
    """Values that are infinite."""
    return _changes("infinity", 1.0, rows, metric, direction)


def null_burst(*, rows: Rows = (1, 5), metric: str = "") -> SearchStrategy[Change]:
    """Values that are logged as null."""
    return _changes("null", 0.0, rows, metric)


def missing_metric(*, rows: Rows = None, metric: str = "") -> SearchStrategy[Change]:
    """Rows that lack the metric."""
    return _changes("missing", 0.0, rows, metric)


def duplicated_steps(*, rows: Rows = (1, 5)) -> SearchStrategy[Change]:
    """Rows that are logged twice."""
    return _changes("duplicated-steps", 0.0, rows, "")


def backward_steps(*, rows: Rows = (1, 20)) -> SearchStrategy[Change]:
    """A log that begins again so many rows earlier, as that of a resumed training does."""
    return _changes("backward-steps", 0.0, rows, "")


def changes(metric: str = "") -> SearchStrategy[Change]:
    """Any of the above, with its usual sizes."""
    of_values = (spike, shift, drift, collapse, explosion, oscillation, saturation, freeze, mis_scaled)
    removing = (nan_burst, infinity_burst, null_burst, missing_metric)
    return st.one_of(*(kind(metric=metric) for kind in (*of_values, *removing)), duplicated_steps(), backward_steps())


@st.composite
def anomalous(
    draw: DrawFn, healthy: Healthy, *planted: SearchStrategy[Change], after: int = 0, room: int = 0
) -> Anomalous:
    """Logs in which something was planted, with a record of what and where.

    Args:
        draw: given by hypothesis.
        healthy: series, logs, or logs in which something was planted before.
        planted: changes to plant; several begin at the same row, as what one cause does to several metrics. For causes
            of different onsets, put one `anomalous` into another.
        after: rows before the onset at least; shorter logs are not drawn.
        room: rows after that of the onset at least.
    """
    source = draw(healthy)
    if isinstance(source, Anomalous):
        log, clean, placed = source.log, source.clean, list(source.planted)
    else:
        log = clean = log_of(source)
        placed = []
    assume(len(log) > after + room)
    row = draw(st.integers(after, len(log) - 1 - room))
    for change in planted:
        log, what = plant(log, draw(change), row)
        placed.append(what)
    return Anomalous(log=log, clean=clean, planted=tuple(placed))
