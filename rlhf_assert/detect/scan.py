"""Feeding rows to detectors: while a run goes on (`Stream`), and afterwards (`discover`, `scan`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from rlhf_assert.detect.anomaly import Anomaly, Detector, Severity
from rlhf_assert.detect.budget import Budget
from rlhf_assert.detect.default import default_detectors
from rlhf_assert.detect.settings import settings_of
from rlhf_assert.recording.crash import name_error
from rlhf_assert.recording.rows import Block, ColumnRows, Row
from rlhf_assert.recording.run import Run

Metrics = Mapping[str, float | None]
Update = Callable[[int, Metrics], Iterable[Anomaly]]

MAX_METRICS = 1000
"""Distinct metric names that are watched. Later names are left out, and the first of those is reported."""

RETIRE_EVERY = 64
"""Rows after which detectors that say that they are `finished` (they will never report again) are asked no more."""


BLOCK = 1024
"""Rows that are offered to a detector at once, where they are held as columns."""


class _Watching(NamedTuple):
    name: str
    detector: Detector
    update: Update


class Stream:
    """Feeds rows to detectors, and bounds the harm that a detector can do.

    A detector's memory grows with the number of metric names, so only the first `MAX_METRICS` names reach it. That
    some are left out is itself reported, once, as an anomaly of kind `too-many-metrics`.

    A detector that raises, or that reports something malformed, gets no more rows. What it had reported by then stays,
    and the other detectors go on.

    Attributes:
        failed: the detectors that were switched off, by name, each with its error.
    """

    def __init__(self, detectors: Iterable[Detector]) -> None:
        self.failed: dict[str, str] = {}
        self._detectors: list[_Watching] = []
        self._rows = 0
        self._known: set[str] = set()
        self._overflowed = False
        for detector in detectors:
            name = type(detector).__name__
            try:
                name = detector.name
                self._detectors.append(_Watching(name, detector, detector.update))
            except Exception as error:  # noqa: BLE001 - see the class
                self.failed[name] = name_error(error)
        self._updates = [watching.update for watching in self._detectors]

    def update(self, step: int, metrics: Metrics) -> tuple[Metrics, list[Anomaly]]:
        """Take one row; return the part of it that is watched, and the anomalies that it completes."""
        anomalies: list[Anomaly] = []
        if not self._known.issuperset(metrics):
            metrics = self._admit(step, metrics, anomalies)
        self._ask(self._updates, step, metrics, anomalies)
        self._rows += 1
        if self._rows % RETIRE_EVERY == 0:
            self._retire()
        return metrics, anomalies

    def absorb(self, block: Block) -> list[Anomaly]:
        """Take the rows of a block, whose metrics rows before have shown; return the anomalies that they complete."""
        self._retire()
        if not self._known.issuperset(block.metrics):
            block = Block(block.steps, {name: block.metrics[name] for name in self._known & block.metrics.keys()})
        with np.errstate(all="ignore"):  # as in `update`, an overflow is an answer
            updates = [watching.update for watching in self._detectors if not self._absorbs(watching, block)]
        anomalies: list[Anomaly] = []
        if updates:
            for step, metrics in block.rows:
                if self._ask(updates, step, metrics, anomalies):
                    updates = [update for update in updates if update in self._updates]
        return anomalies

    def _ask(self, updates: list[Update], step: int, metrics: Metrics, anomalies: list[Anomaly]) -> bool:
        """Add what some detectors report at one row; return whether one of them failed."""
        sound = True
        for update in updates:
            try:
                if reported := update(step, metrics):
                    name = self._watching(update).name
                    anomalies.extend(_tagged(anomaly, name) for anomaly in reported)
            except Exception as error:  # noqa: BLE001 - see the class; entering a try costs nothing
                self._fail(self._watching(update), error)
                sound = False
        return not sound

    def _watching(self, update: Update) -> _Watching:
        return next(watching for watching in self._detectors if watching.update == update)

    def _absorbs(self, watching: _Watching, block: Block) -> bool:
        """Return whether a detector needs the rows of a block no more: it has taken them, or it failed."""
        try:
            absorb = getattr(watching.detector, "absorb", None)
            return absorb is not None and bool(absorb(block))
        except Exception as error:  # noqa: BLE001 - see the class
            self._fail(watching, error)
            return True

    def _fail(self, watching: _Watching, error: Exception) -> None:
        self.failed[watching.name] = name_error(error)
        self._leave_out(watching)

    def _leave_out(self, watching: _Watching) -> None:
        self._detectors = [other for other in self._detectors if other is not watching]
        self._updates = [other.update for other in self._detectors]

    def _retire(self) -> None:
        for watching in self._detectors:
            try:
                if getattr(watching.detector, "finished", False):
                    self._leave_out(watching)
            except Exception as error:  # noqa: BLE001 - see the class
                self._fail(watching, error)

    def _admit(self, step: int, metrics: Metrics, anomalies: list[Anomaly]) -> Metrics:
        admitted = {}
        for name, value in metrics.items():
            if name not in self._known:
                if len(self._known) == MAX_METRICS:
                    if not self._overflowed:
                        self._overflowed = True
                        anomalies.append(_overflow(step, name))
                    continue
                self._known.add(name)
            admitted[name] = value
        return admitted


def discover(rows: Iterable[Row], detectors: Iterable[Detector] | Stream) -> Iterator[Anomaly]:
    """Yield what the detectors report, as they report it: what a prefix of the rows shows never changes later.

    Args:
        rows: the rows.
        detectors: fresh detectors, or a fresh stream of them, which can be asked afterwards which of them failed.
    """
    stream = detectors if isinstance(detectors, Stream) else Stream(detectors)
    for part in rows.parts(BLOCK) if isinstance(rows, ColumnRows) else rows:
        yield from stream.absorb(part) if isinstance(part, Block) else stream.update(part.step, part.metrics)[1]


def scan(run_or_rows: Run | Iterable[Row], detectors: Iterable[Detector] | Stream | None = None) -> tuple[Anomaly, ...]:
    """Feed every row, in the order in which it was logged, to the detectors.

    Args:
        run_or_rows: a run, or rows.
        detectors: see `discover`; by default `default_detectors`, for a run with its algorithm, configuration and
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
    return last_states(discover(rows, default_detectors() if detectors is None else detectors))


def last_states(anomalies: Iterable[Anomaly]) -> tuple[Anomaly, ...]:
    """Return anomalies by onset, each (same kind, metric and onset) once, in the state in which it came last."""
    final = {(anomaly.kind, anomaly.metric, anomaly.onset): anomaly for anomaly in anomalies}
    return tuple(sorted(final.values(), key=lambda anomaly: anomaly.onset))


def detectors_for(run: Run, budget: Budget | None = None) -> list[Detector]:
    """Return fresh default detectors for a run: by its algorithm, its configuration and its settings.

    Args:
        run: the run.
        budget: see `default_detectors`.

    Raises:
        UnreadableRun: this version does not know its settings.
    """
    return default_detectors(run.algorithm, run.config, settings=settings_of(run.info), budget=budget)


def _tagged(reported: object, detector: str) -> Anomaly:
    """Return an anomaly with the name of the detector that reported it.

    Raises:
        TypeError: it is no anomaly, or one of its fields has a value of another type than it must have.
    """
    if not isinstance(reported, Anomaly):
        raise TypeError(f"reported {reported!r:.80}, which is no Anomaly")
    if not isinstance(reported.severity, Severity):
        raise TypeError(f"reported severity={reported.severity!r:.80}, which is no Severity")
    for name in ("kind", "metric", "summary", "remedy"):
        if not isinstance(value := getattr(reported, name), str):
            raise TypeError(f"reported {name}={value!r:.80}, which is no text")
    if not isinstance(reported.causes, tuple) or not all(isinstance(cause, str) for cause in reported.causes):
        raise TypeError(f"reported causes={reported.causes!r:.80}, which is no tuple of texts")
    if not isinstance(reported.evidence, Mapping):
        raise TypeError(f"reported evidence={reported.evidence!r:.80}, which is no mapping")
    onset, evidence = reported.onset, reported.evidence
    if type(onset) is not int or any(type(value) not in _PLAIN for value in evidence.values()):
        onset, evidence = _plain_step(onset), {str(name): _plain(name, value) for name, value in evidence.items()}
    return replace(reported, onset=onset, evidence=evidence, detector=detector)


_PLAIN = frozenset({float, int, str})


def _plain_step(onset: object) -> int:
    step = onset.item() if isinstance(onset, np.integer) else onset
    if not isinstance(step, int):
        raise TypeError(f"reported onset={onset!r:.80}, which is no step")
    return int(step)


def _plain(name: object, value: object) -> float | int | str:
    plain = value.item() if isinstance(value, np.generic | np.ndarray) else value
    if not isinstance(plain, float | int | str):
        raise TypeError(f"reported evidence {name}={value!r:.80}, which is neither a number nor text")
    return plain


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
