"""What an update costs, late in a long log as compared with early: memory and time must not grow with the rows."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from itertools import cycle

import numpy as np

from rlhf_assert.detect.anomaly import Detector
from rlhf_assert.testing.battery.claims import Claims
from rlhf_assert.testing.battery.feeding import Flaw, Make
from rlhf_assert.testing.synthetic import Log

WARM = 1000
"""Rows after which a detector's windows must be full."""
ROWS = 2500
"""Rows over which memory is compared."""
BYTES_PER_ROW = 4.0
"""Bytes that a row may leave behind on average; the least that can be kept of a value, in an array, is 8."""
LATE = 15_000
"""Rows between the early and the late updates of which the time is compared."""
BLOCKS, BLOCK = 5, 200
TIMES = 3.0
"""Times that a late update may cost of an early one. Work in proportion to the rows seen gives about 10."""

Stream = Iterator[tuple[int, dict[str, float | None]]]


def cost_flaws(claims: Claims) -> Iterator[Flaw]:
    """Yield where memory or time per update grows, in a long healthy log or a long one in which the anomaly stays."""
    anomalous = max(claims.planted[0], key=lambda one: len(one.log))
    row = anomalous.planted[0].row
    before, healthy, sick = anomalous.clean[:row], anomalous.clean[row:], anomalous.log[row:]
    try:
        kept = {
            what: bytes_kept(claims.make, stream(before, rest))
            for what, rest in (("healthy", healthy), ("anomalous", sick))
        }
        times = slowdown(claims.make, anomalous.clean)
    except Exception as error:  # noqa: BLE001 - whatever a stranger's detector raises is the finding
        yield Flaw("keeps the protocol", f"{type(error).__name__} in a long log: {error}")
        return
    for what, kept_per_row in kept.items():
        if kept_per_row > BYTES_PER_ROW:
            yield Flaw("keeps a bounded memory", f"{kept_per_row:.0f} bytes more for each of {ROWS} {what} rows")
    if times > TIMES:
        yield Flaw("takes a bounded time", f"an update costs {times:.0f} times as much after {LATE} more rows")


def stream(beginning: Log, rest: Log) -> Stream:
    """Yield rows without end: a beginning, then the rest over and over, with noise of 1 %; steps 1, 2, ..."""
    source = np.random.default_rng(0)
    step = 0
    for row in beginning:
        step += 1
        yield step, dict(row.metrics)
    while True:
        for row in rest:
            step += 1
            noise = (1.0 + 0.01 * source.standard_normal(len(row.metrics))).tolist()
            yield (
                step,
                {
                    metric: value if value is None else value * times
                    for (metric, value), times in zip(row.metrics.items(), noise, strict=True)
                },
            )


def bytes_kept(make: Make, rows: Stream) -> float:
    """Return by how many bytes a row the memory grows over `ROWS` rows, after `WARM`."""
    detector = make()
    _advance(detector, rows, WARM)
    ours = tracemalloc.is_tracing()
    if not ours:
        tracemalloc.start()
    try:
        _advance(detector, rows, WARM)  # now what is in its windows is traced as well
        before = tracemalloc.get_traced_memory()[0]
        _advance(detector, rows, ROWS)
        return (tracemalloc.get_traced_memory()[0] - before) / ROWS
    finally:
        if not ours:
            tracemalloc.stop()


def slowdown(make: Make, log: Log) -> float:
    """Return the cost of a late update over that of an early one, in a log that begins anew over and over."""
    detector = make()
    rows = ((step, row.metrics) for step, row in enumerate(cycle(log), 1))
    _advance(detector, rows, WARM)
    early = _cheapest_block(detector, rows)
    _advance(detector, rows, LATE)
    return _cheapest_block(detector, rows) / max(early, 1)


def _cheapest_block(detector: Detector, rows: Stream) -> int:
    """Return the nanoseconds of processor time of the cheapest block of updates."""
    costs = []
    for _ in range(BLOCKS):
        begin = time.thread_time_ns()
        _advance(detector, rows, BLOCK)
        costs.append(time.thread_time_ns() - begin)
    return min(costs)


def _advance(detector: Detector, rows: Stream, count: int) -> None:
    for _ in range(count):
        step, metrics = next(rows)
        for _ in detector.update(step, metrics):
            pass
