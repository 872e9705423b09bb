"""Feeding rows to detectors: while a run goes on (`Stream`), and afterwards (`discover`, `scan`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from rlhf_assert.detect.anomaly import Anomaly, Detector, Severity
from rlhf_assert.detect.budget import Budget
from rlhf_assert.detect.default import default_detectors
from rlhf_assert.detect.settings import settings_of
from rlhf_assert.recording.rows import Block, ColumnRows, Row
from rlhf_assert.recording.run import Run

Metrics = Mapping[str, float | None]

MAX_METRICS = 1000
"""Distinct metric names that are watched; later ones are left out, and the first of those is reported."""

RETIRE_EVERY = 64
"""Rows after which detectors that say that they are `finished` (they will never report again) are asked no more."""


BLOCK = 1024
"""Rows that are offered to a detector at once, where they are held as columns."""


class Stream:
    """Detectors, and the bound on what they may be asked to remember.

    A detector's memory grows with the number of metric names, so only the first `MAX_METRICS` names reach it. That
    some are left out is itself reported, once, as an anomaly of kind `too-many-metrics`.
    """

    def __init__(self, detectors: Iterable[Detector]) -> None:
        self._detectors = list(detectors)
        self._updates = [detector.update for detector in self._detectors]
        self._rows = 0
        self._known: set[str] = set()
        self._overflowed = False

    def update(self, step: int, metrics: Metrics) -> tuple[Metrics, list[Anomaly]]:
        """Take one row; return the part of it that is watched, and what the detectors found."""
        found: list[Anomaly] = []
        if not self._known.issuperset(metrics):
            metrics = self._admit(step, metrics, found)
        for update in self._updates:
            found += update(step, metrics)
        self._rows += 1
        if self._rows % RETIRE_EVERY == 0:
            self._retire()
        return metrics, found

    def absorb(self, block: Block) -> list[Anomaly]:
        """Take the rows of a block, whose metrics rows before have shown; return what the detectors found."""
        self._retire()
        if not self._known.issuperset(block.metrics):
            block = Block(block.steps, {name: block.metrics[name] for name in self._known & block.metrics.keys()})
        with np.errstate(all="ignore"):  # as in `update`, an overflow is an answer
            updates = [detector.update for detector in self._detectors if not _absorbs(detector, block)]
        found: list[Anomaly] = []
        if updates:
            for step, metrics in block.rows:
                for update in updates:
                    found += update(step, metrics)
        return found

    def _retire(self) -> None:
        self._detectors = [detector for detector in self._detectors if not getattr(detector, "finished", False)]
        self._updates = [detector.update for detector in self._detectors]

    def _admit(self, step: int, metrics: Metrics, found: list[Anomaly]) -> Metrics:
        admitted = {}
        for name, value in metrics.items():
            if name not in self._known:
                if len(self._known) == MAX_METRICS:
                    if not self._overflowed:
                        self._overflowed = True
                        found.append(_overflow(step, name))
                    continue
                self._known.add(name)
            admitted[name] = value
        return admitted


def discover(rows: Iterable[Row], detectors: Iterable[Detector]) -> Iterator[Anomaly]:
    """Yield what the detectors find, as they find it: what a prefix of the rows shows never changes later."""
    stream = Stream(detectors)
    for part in rows.parts(BLOCK) if isinstance(rows, ColumnRows) else rows:
        yield from stream.absorb(part) if isinstance(part, Block) else stream.update(part.step, part.metrics)[1]


def scan(run_or_rows: Run | Iterable[Row], detectors: Iterable[Detector] | None = None) -> tuple[Anomaly, ...]:
    """Feed every row, in the order in which it was logged, to the detectors.

    Args:
        run_or_rows: a run, or rows.
        detectors: fresh detectors; by default `default_detectors`, for a run with its algorithm, configuration and
            settings.

    Returns:
        The anomalies by onset. One that grew worse (same kind, metric and onset) is there once, in its last state.
    """
    if isinstance(run_or_rows, Run):
        rows: Iterable[Row] = run_or_rows.rows
        if detectors is None:
            detectors = detectors_for(run_or_rows)
    else:
        rows = run_or_rows
    final: dict[tuple[str, str, int], Anomaly] = {}
    for anomaly in discover(rows, default_detectors() if detectors is None else detectors):
        final[anomaly.kind, anomaly.metric, anomaly.onset] = anomaly
    return tuple(sorted(final.values(), key=lambda anomaly: anomaly.onset))


def detectors_for(run: Run, budget: Budget | None = None) -> list[Detector]:
    """Return fresh default detectors for a run: by its algorithm, its configuration and its settings.

    Args:
        run: the run.
        budget: see `default_detectors`.

    Raises:
        UnreadableRun: its settings are none that this version knows.
    """
    return default_detectors(run.algorithm, run.config, settings=settings_of(run.info), budget=budget)


def _absorbs(detector: Detector, block: Block) -> bool:
    absorb = getattr(detector, "absorb", None)
    return absorb is not None and absorb(block)


def _overflow(step: int, name: str) -> Anomaly:
    return Anomaly(
        kind="too-many-metrics",
        metric=name,
        severity=Severity.info,
        onset=step,
        summary=f"not watched, nor is any other new name: the run logs more than {MAX_METRICS} metrics",
        evidence={"watched": MAX_METRICS},
        causes=("a metric name that holds a step, a sample or a time",),
        remedy="log what varies as a value, not in the metric's name",
    )
