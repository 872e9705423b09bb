"""Feeding logs to fresh detectors, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from rlhf_assert.detect.anomaly import Anomaly, Detector, Severity
from rlhf_assert.numbers import number
from rlhf_assert.recording.rows import Row
from rlhf_assert.testing.synthetic import Log
from rlhf_assert.testing.synthetic.log import as_columns

Make = Callable[[], Detector]

SHOWN_METRICS, SHOWN_VALUES = 4, 24
BLOCK = 32


@dataclass(frozen=True, slots=True)
class Report:
    """An anomaly, and the index of the row at which it was reported."""

    row: int
    anomaly: Anomaly

    @property
    def identity(self) -> tuple[int, str]:
        """What must be equal in two reports that are the same; NaN in the evidence is equal to itself here."""
        return self.row, repr(self.anomaly)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a detector made of a log: its reports up to the end, or to the row at which it broke.

    Attributes:
        reports: in the order in which they came.
        error: what broke, and where; empty if nothing did.
    """

    reports: tuple[Report, ...]
    error: str = ""

    @property
    def identity(self) -> tuple[object, ...]:
        """See `Report.identity`."""
        return (*(report.identity for report in self.reports), self.error)

    def alarms(self, severity: Severity) -> tuple[Report, ...]:
        """Return the reports from a severity on."""
        return tuple(report for report in self.reports if report.anomaly.severity >= severity)


@dataclass(frozen=True, slots=True)
class Flaw:
    """A property that a detector lacks.

    Attributes:
        lacks: the property, as `check_detector` lists them.
        detail: what it did instead, in one line.
        log: the smallest log that shows it; empty where no single log does.
    """

    lacks: str
    detail: str
    log: Log = ()

    def __str__(self) -> str:
        return f"{self.lacks}: {self.detail}" + "".join(f"\n    {line}" for line in show(self.log))


def feed(make: Make, log: Log) -> Outcome:
    """Feed a log to a fresh detector; what it raises, or does against the protocol, is part of the outcome."""
    reports: list[Report] = []
    detector = make()
    for index, row in enumerate(log):
        error = _update(detector, index, row, reports)
        if error:
            return Outcome(tuple(reports), error)
    return Outcome(tuple(reports))


def feed_blocks(make: Make, log: Log) -> Outcome:
    """Feed a log to a fresh detector that has `absorb` (see `Detector`): calm rows in blocks, the others one by one."""
    reports: list[Report] = []
    detector: Any = make()
    index = 0
    for part in as_columns(log).parts(BLOCK):
        rows = [part] if isinstance(part, Row) else [Row(step, None, dict(metrics)) for step, metrics in part.rows]
        with np.errstate(all="ignore"):  # as where a log is scanned: an overflow is an answer
            absorbed = not isinstance(part, Row) and detector.absorb(part)
        if not absorbed:
            for place, row in enumerate(rows, index):
                _update(detector, place, row, reports)
        index += len(rows)
    return Outcome(tuple(reports))


def _update(detector: Detector, index: int, row: Row, reports: list[Report]) -> str:
    """Feed one row, note what is reported, and return what is against the protocol, empty if nothing is."""
    before = dict(row.metrics)
    finished, reported = getattr(detector, "finished", False), len(reports)
    try:
        for anomaly in detector.update(row.step, row.metrics):
            if type(anomaly) is not Anomaly:
                return f"reports a {type(anomaly).__name__} at row {index}, and no Anomaly"
            reports.append(Report(index, anomaly))
    except Exception as raised:  # noqa: BLE001 - whatever a stranger's detector raises is the finding
        return f"{type(raised).__name__} at row {index}: {raised}"
    if row.metrics.keys() != before.keys() or any(row.metrics[name] is not before[name] for name in before):
        row.metrics.clear()
        row.metrics.update(before)
        return f"changes the metrics that it is given, at row {index}"
    if finished and len(reports) > reported:
        return f"reports at row {index}, although it said that it was finished"
    return ""


def show(log: Log) -> Iterable[str]:
    """Yield a log in few lines: the steps, and each metric with equal values in succession counted."""
    if not log:
        return
    steps = [row.step for row in log]
    counted = steps == list(range(steps[0], steps[0] + len(log)))
    yield "steps   " + (f"{steps[0]} to {steps[-1]}" if counted else _compressed([str(step) for step in steps]))
    metrics = list(dict.fromkeys(metric for row in log for metric in row.metrics))
    for metric in metrics[:SHOWN_METRICS]:
        yield f"{metric}   {_compressed([_text(row.metrics, metric) for row in log])}"
    if len(metrics) > SHOWN_METRICS:
        yield f"and {len(metrics) - SHOWN_METRICS} more metrics: {' '.join(metrics[SHOWN_METRICS:])}"


def _text(metrics: dict[str, float | None], metric: str) -> str:
    value = metrics.get(metric)
    return "absent" if metric not in metrics else "null" if value is None else number(value)


def _compressed(texts: list[str]) -> str:
    groups = [(text, len(list(same))) for text, same in groupby(texts)]
    words = [text if count == 1 else f"{text} x{count}" for text, count in groups]
    if len(words) > SHOWN_VALUES:
        half = SHOWN_VALUES // 2
        words = [*words[:half], f"... {len(words) - 2 * half} more ...", *words[-half:]]
    return ", ".join(words)
