"""Units do not matter: a metric in other units gives the same reports."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from rlhf_assert.recording.rows import Row
from rlhf_assert.testing.battery.claims import Claims
from rlhf_assert.testing.battery.feeding import Flaw, Outcome, feed
from rlhf_assert.testing.strategies import smallest
from rlhf_assert.testing.synthetic import Anomalous, Log
from rlhf_assert.testing.synthetic.log import cells
from rlhf_assert.testing.synthetic.planted import spread_of

BITS = 12
"""The values are rounded to spread / 2^12, so that adding and multiplying by powers of two is exact: what then differs
is the detector's doing and not rounding."""


UNITS = ((2.0**-7, 0), (2.0**10, 0), (1.0, 37), (8.0, -50))
"""Factors, and offsets in spreads, that are tried."""


def invariance_flaws(claims: Claims) -> Iterator[Flaw]:
    """Yield where other units of a metric in which something is planted give other reports."""
    if claims.invariance == "none":
        return
    units = [(factor, spreads if claims.invariance == "affine" else 0) for factor, spreads in UNITS]

    def other(one: Anomalous) -> str:
        log = rounded(one.log, claims.metrics)
        before = _skeleton(feed(claims.make, log))
        for factor, spreads in units:
            if before != _skeleton(feed(claims.make, in_other_units(log, claims.metrics, factor, spreads))):
                return f"other reports once the metric is times {factor:g}" + (
                    f" {spreads:+d} spreads" if spreads else ""
                )
        return ""

    for finds, planted in zip(claims.finds, claims.planted, strict=True):
        counterexample = next((one for one in planted if other(one)), None)
        if counterexample is not None:
            example = smallest(finds.logs, lambda one: bool(other(one))) or counterexample
            yield Flaw("does not depend on units", other(example), rounded(example.log, claims.metrics))


def _skeleton(outcome: Outcome) -> list[tuple[object, ...]]:
    return [
        (at.row, at.anomaly.kind, at.anomaly.metric, at.anomaly.onset, at.anomaly.severity) for at in outcome.reports
    ]


def rounded(log: Log, metrics: tuple[str, ...]) -> Log:
    """Return the log with the finite values of some metrics rounded to a grid of their own."""
    grids = _grids(log, metrics)
    return _mapped(log, metrics, lambda metric, value: round(value / grids[metric]) * grids[metric])


def in_other_units(log: Log, metrics: tuple[str, ...], factor: float, spreads: int) -> Log:
    """Return the log with some metrics times a factor, after a number of their spreads was added."""
    grids = _grids(log, metrics)
    return _mapped(log, metrics, lambda metric, value: factor * (value + spreads * 2.0**BITS * grids[metric]))


def _grids(log: Log, metrics: tuple[str, ...]) -> dict[str, float]:
    return {metric: 2.0 ** (math.floor(math.log2(spread_of(cells(log, metric)))) - BITS) for metric in metrics}


def _mapped(log: Log, metrics: tuple[str, ...], change: Callable[[str, float], float]) -> Log:
    return tuple(
        Row(
            row.step,
            row.epoch,
            {
                metric: change(metric, value)
                if metric in metrics and value is not None and math.isfinite(value)
                else value
                for metric, value in row.metrics.items()
            },
        )
        for row in log
    )
